#include "subquad/core/tensor.h"

#include <algorithm>
#include <utility>

#include "subquad/core/allocator.h"
#include "subquad/core/as_shape.h"
#include "subquad/core/profile.h"

namespace subquad {

Storage::Storage(std::size_t bytes, Device device, const char* op)
    : data_(static_cast<std::byte*>(allocate(bytes, device, op))), bytes_(bytes), device_(device) {}

Storage::Storage(std::shared_ptr<std::byte> memory, std::size_t bytes)
    : data_(memory.get()), bytes_(bytes), device_(kCpu), shared_(std::move(memory)) {}

Storage::~Storage() {
  if (shared_ == nullptr) deallocate(data_, bytes_, device_);
}

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, const Shape& shape, const Shape& strides, Index offset)
    : storage_(std::move(storage)), shape_(shape), strides_(strides), offset_(offset), dtype_(dtype) {}

Storage& Tensor::storage() const {
  if (!defined()) throw Error("the tensor is undefined");
  return *storage_;
}

Device Tensor::device() const {
  return storage().device();
}

int Tensor::wrap_dim(const char* op, int dim, int extra) const {
  if (!defined()) throw Error(cat(op, ": the tensor is undefined"));
  const int rank = this->rank() + extra;
  if (dim < -rank || dim >= rank)
    throw ShapeError(
        cat(op, ": dimension ", dim, " of a tensor of shape ", shape_, ", expected one in [", -rank, ", ", rank, ")"));
  return dim < 0 ? dim + rank : dim;
}

Index Tensor::dim(int d) const {
  return shape_[wrap_dim("dim", d)];
}

bool Tensor::is_contiguous() const {
  Index expected = 1;
  for (int d = rank() - 1; d >= 0; --d) {
    if (shape_[d] == 0) return true;  // no elements: nothing to be out of order
    if (shape_[d] != 1 && strides_[d] != expected) return size() == 0;
    expected *= shape_[d];
  }
  return true;
}

std::byte* Tensor::raw_data() const {
  if (!defined()) throw Error("data: the tensor is undefined");
  std::byte* first = storage_->data() + static_cast<std::size_t>(offset_) * dtype_bytes(dtype_);
  if (OpScope::profiling.load(std::memory_order_relaxed)) note_touched(*this, first);
  return first;
}

std::byte* Tensor::checked_data(DType wanted) const {
  if (!defined()) throw Error("data: the tensor is undefined");
  if (wanted != dtype_) throw DTypeError(cat("data: the tensor is ", dtype_, ", asked for as ", wanted));
  return raw_data();
}

std::size_t Tensor::contiguous_size() const {
  if (!is_contiguous())
    throw ShapeError(cat("span: a tensor of shape ", shape_, " with strides ", strides_, " is not contiguous"));
  return static_cast<std::size_t>(size());
}

void Tensor::check_view_rank(int rank) const {
  if (rank != this->rank()) throw ShapeError(cat("view: shape ", shape_, ", expected rank ", rank));
}

void Tensor::check_item() const {
  if (!defined() || size() != 1) throw ShapeError(cat("item: shape ", shape_, ", expected one element"));
}

Tensor Tensor::slice(int dim, Index start, Index stop, Index step) const {
  const int d = wrap_dim("slice", dim);
  if (start < 0 || stop < start || stop > shape_[d] || step < 1)
    throw ShapeError(cat("slice: [", start, ", ", stop, ") by ", step, " of dimension ", d, " of shape ", shape_,
                         ", expected 0 <= start <= stop <= ", shape_[d], " and a step of at least 1"));
  Tensor out = *this;
  out.offset_ += start * strides_[d];
  out.shape_[d] = (stop - start + step - 1) / step;
  out.strides_[d] *= step;
  return out;
}

Tensor Tensor::select(int dim, Index index) const {
  const int d = wrap_dim("select", dim);
  if (index < 0 || index >= shape_[d])
    throw ShapeError(cat("select: index ", index, " of dimension ", d, " of shape ", shape_));
  Tensor out = *this;
  out.offset_ += index * strides_[d];
  out.shape_ = shape_.without(d);
  out.strides_ = strides_.without(d);
  return out;
}

Tensor Tensor::transpose(int a, int b) const {
  const int da = wrap_dim("transpose", a);
  const int db = wrap_dim("transpose", b);
  Tensor out = *this;
  std::swap(out.shape_[da], out.shape_[db]);
  std::swap(out.strides_[da], out.strides_[db]);
  return out;
}

Tensor Tensor::permute(const std::vector<int>& order) const {
  if (static_cast<int>(order.size()) != rank())
    throw ShapeError(cat("permute: ", order.size(), " dimensions given for shape ", shape_));
  Tensor out = *this;
  std::array<bool, kMaxRank> seen = {};
  int to = 0;
  for (const int dim : order) {
    const int from = wrap_dim("permute", dim);
    if (std::exchange(seen[static_cast<std::size_t>(from)], true))
      throw ShapeError(cat("permute: dimension ", dim, " is given twice for shape ", shape_));
    out.shape_[to] = shape_[from];
    out.strides_[to++] = strides_[from];
  }
  return out;
}

Tensor Tensor::stack_where_they_lie(const std::vector<Tensor>& parts) {
  if (parts.empty() || !parts[0].defined()) return {};
  const Tensor& first = parts[0];
  const Index distance = parts.size() > 1 && parts[1].defined() ? parts[1].offset_ - first.offset_ : 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = parts[i];
    if (!part.defined() || !part.shares_storage_with(first) || part.dtype_ != first.dtype_ ||
        part.shape_ != first.shape_ || part.strides_ != first.strides_ || distance < 0 ||
        part.offset_ != first.offset_ + static_cast<Index>(i) * distance)
      return {};
  }
  Tensor stack = first.unsqueeze(0);
  stack.shape_[0] = static_cast<Index>(parts.size());
  stack.strides_[0] = distance;
  return stack;
}

Tensor Tensor::unsqueeze(int dim) const {
  const int d = wrap_dim("unsqueeze", dim, 1);
  Tensor out = *this;
  out.shape_ = shape_.inserted(d, 1);
  out.strides_ = strides_.inserted(d, 1);
  return out;
}

Tensor Tensor::squeeze(int dim) const {
  const int d = wrap_dim("squeeze", dim);
  if (shape_[d] != 1) throw ShapeError(cat("squeeze: dimension ", d, " of shape ", shape_, " is not 1"));
  return select(d, 0);
}

Tensor Tensor::expand(const Shape& shape) const {
  const int extra = shape.rank() - rank();
  Tensor out = *this;
  out.shape_ = shape;
  out.strides_ = shape;
  for (int d = 0; d < shape.rank(); ++d) {
    const bool fits = d < extra || shape_[d - extra] == shape[d] || shape_[d - extra] == 1;
    if (extra < 0 || !fits) throw ShapeError(cat("expand: shape ", shape_, " does not expand to ", shape));
    out.strides_[d] = d >= extra && shape_[d - extra] == shape[d] ? strides_[d - extra] : 0;
  }
  if (extra < 0) throw ShapeError(cat("expand: shape ", shape_, " does not expand to ", shape));
  return out;
}

namespace {

// Replaces an extent of -1 by what makes the sizes agree.
Shape complete_shape(const Shape& from, Shape to) {
  int open = -1;
  Index known = 1;
  for (int d = 0; d < to.rank(); ++d) {
    if (to[d] == -1 && open < 0)
      open = d;
    else
      known *= to[d];
  }
  if (open >= 0 && known > 0 && from.size() % known == 0) to[open] = from.size() / known;
  if (to.size() != from.size() || std::any_of(to.begin(), to.end(), [](Index e) { return e < 0; }))
    throw ShapeError(cat("reshape: ", from.size(), " elements of shape ", from, " do not fill shape ", to));
  return to;
}

// Strides under which `to` walks over the same elements in the same order, if there are any: runs of dimensions that
// lie gapless in each other are merged, and each run is cut anew. Returns false when a new dimension would span two
// runs.
bool reshaped_strides(const Shape& shape, const Shape& strides, const Shape& to, Shape& out) {
  out = row_major_strides(to);
  if (shape.size() == 0) return true;
  int next = 0;  // dimension of `to` that is to be placed
  for (int first = 0; first < shape.rank();) {
    if (shape[first] == 1) {
      ++first;
      continue;
    }
    Index run = shape[first];
    int last = first;
    for (int d = first + 1; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      if (strides[last] != shape[d] * strides[d]) break;
      run *= shape[d];
      last = d;
    }
    Index left = run;
    while (left > 1) {
      if (next == to.rank() || left % to[next] != 0) return false;
      left /= to[next];
      out[next++] = left * strides[last];
    }
    first = last + 1;
  }
  return true;
}

}  // namespace

Tensor Tensor::reshape(const Shape& shape) const {
  if (!defined()) throw Error("reshape: the tensor is undefined");
  Tensor out = *this;
  out.shape_ = complete_shape(shape_, shape);
  if (!reshaped_strides(shape_, strides_, out.shape_, out.strides_))
    throw ShapeError(cat("reshape: shape ", shape_, " with strides ", strides_, " cannot be viewed as ", out.shape_,
                         "; call contiguous() first"));
  return out;
}

Tensor Tensor::bytes_as(DType dtype, const Shape& shape) const {
  if (!is_contiguous())
    throw ShapeError(cat("bytes_as: shape ", shape_, " with strides ", strides_, ", expected a contiguous tensor"));
  const auto old_bytes = static_cast<Index>(dtype_bytes(dtype_)), new_bytes = static_cast<Index>(dtype_bytes(dtype));
  if (shape.size() * new_bytes != shape_.size() * old_bytes || offset_ * old_bytes % new_bytes != 0)
    throw ShapeError(cat("bytes_as: ", shape_.size() * old_bytes, " bytes of ", shape_, ' ', dtype_name(dtype_),
                         " from byte ", offset_ * old_bytes, " on are not ", shape, ' ', dtype_name(dtype)));
  return {storage_, dtype, shape, row_major_strides(shape), offset_ * old_bytes / new_bytes};
}

Tensor as_shape(const Tensor& t, const Shape& shape) {
  Shape strides;
  return (reshaped_strides(t.shape(), t.strides(), shape, strides) ? t : t.contiguous()).reshape(shape);
}

Tensor Tensor::clone() const {
  Tensor out = empty(shape_, dtype_, device());
  copy(*this, out);
  return out;
}

Tensor Tensor::contiguous() const {
  if (is_contiguous()) return *this;
  Tensor out = empty(shape_, dtype_, device());
  copy(*this, out);
  return out;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor out = empty(shape_, dtype_, device);
  copy(*this, out);
  return out;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor out = empty(shape_, dtype, device());
  copy(*this, out);
  return out;
}

Tensor empty(const Shape& shape, DType dtype, Device device, const char* op) {
  for (const Index extent : shape)
    if (extent < 0) throw ShapeError(cat("empty: shape ", shape, " has a negative extent"));
  constexpr std::size_t kLargest = std::size_t(-1) / 4;  // leaves room for rounding up
  std::size_t bytes = dtype_bytes(dtype);
  for (const Index extent : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes) || bytes > kLargest)
      throw ShapeError(cat("empty: shape ", shape, " of ", dtype, " is larger than memory can be"));
  return Tensor(std::make_shared<Storage>(bytes, device, op), dtype, shape, row_major_strides(shape), 0);
}

Tensor zeros(const Shape& shape, DType dtype, Device device, const char* op) {
  return full(shape, 0, dtype, device, op);
}

Tensor full(const Shape& shape, double value, DType dtype, Device device, const char* op) {
  Tensor out = empty(shape, dtype, device, op);
  fill(out, value);
  return out;
}

Tensor arange(Index count, DType dtype, Device device) {
  Tensor counts = empty({count}, kInt64, kCpu);
  for (Index i = 0; i < count; ++i) counts.data<Index>()[i] = i;
  return counts.to(dtype).to(device);
}

Tensor empty_like(const Tensor& like, const char* op) {
  return empty(like.shape(), like.dtype(), like.device(), op);
}

Tensor zeros_like(const Tensor& like, const char* op) {
  return zeros(like.shape(), like.dtype(), like.device(), op);
}

}  // namespace subquad
