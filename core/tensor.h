// Tensor: a cheap handle to a strided array. Copying the handle shares the storage; only clone(), contiguous() and to()
// copy elements. No gradient lives here (see autograd/variable.h).
//
// Device and dtype are explicit in every factory; nothing is promoted or moved silently. A moved-from or
// default-constructed Tensor is undefined: defined() is false, and asking it for a dimension or an element is an error.
#pragma once

#include <atomic>
#include <cstring>
#include <iosfwd>
#include <memory>
#include <span>
#include <vector>

#include "subquad/core/device.h"
#include "subquad/core/dtype.h"
#include "subquad/core/shape.h"
#include "subquad/core/view.h"

namespace subquad {

// One block of memory, shared by all tensors that view it. `version` counts in-place writes to any of them.
class Storage {
 public:
  Storage(std::size_t bytes, Device device, const char* op);      // op: who asks, for the message when there is no more
  Storage(std::shared_ptr<std::byte> memory, std::size_t bytes);  // CPU memory that somebody else gives back
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  std::atomic<std::uint32_t> version{0};

 private:
  std::byte* data_;
  std::size_t bytes_;
  Device device_;
  std::shared_ptr<std::byte> shared_;  // null when data_ is the allocator's
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, DType dtype, const Shape& shape, const Shape& strides, Index offset);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  Index dim(int d) const;                            // negative counts from the end
  int rank() const { return shape_.rank(); }
  Index size() const { return shape_.size(); }
  DType dtype() const { return dtype_; }
  Device device() const;
  bool is_contiguous() const;  // row-major without gaps
  bool shares_storage_with(const Tensor& other) const { return storage_ == other.storage_; }
  bool is_alone() const { return storage_.use_count() == 1; }  // no other handle sees its storage

  // First element. DTypeError when T is not the tensor's dtype. The elements are contiguous only if is_contiguous().
  // The pointers, spans and views of a CUDA tensor are for kernels: only its device can read them.
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(checked_data(dtype_of<std::remove_const_t<T>>()));
  }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(checked_data(dtype_of<std::remove_const_t<T>>()));
  }
  // Contiguous tensors only; of a tensor with a name, which keeps the elements alive while the span is read.
  template <class T>
  std::span<T> span() & {
    return {data<T>(), contiguous_size()};
  }
  template <class T>
  std::span<const T> span() const& {
    return {data<T>(), contiguous_size()};
  }
  template <class T>
  std::span<const T> span() const&& = delete;
  template <class T, int Rank>
  View<T, Rank> view() {
    check_view_rank(Rank);
    return View<T, Rank>(data<T>(), shape_, strides_);
  }
  template <class T, int Rank>
  requires std::is_const_v<T> View<T, Rank> view()
  const {
    check_view_rank(Rank);
    return View<T, Rank>(data<T>(), shape_, strides_);
  }
  std::byte* bytes() { return raw_data(); }  // untyped first element
  const std::byte* bytes() const { return raw_data(); }

  // Views: no element is copied, and writes are seen through both handles.
  Tensor slice(int dim, Index start, Index stop, Index step = 1) const;  // start <= stop inside the extent; step >= 1
  Tensor select(int dim, Index index) const;                             // one index; the dimension goes away
  Tensor transpose(int a, int b) const;
  Tensor permute(const std::vector<int>& order) const;
  Tensor unsqueeze(int dim) const;           // a new dimension of extent 1 before `dim`
  Tensor squeeze(int dim) const;             // takes away a dimension of extent 1
  Tensor expand(const Shape& shape) const;   // broadcasts extents of 1 with stride 0
  Tensor reshape(const Shape& shape) const;  // one extent may be -1; ShapeError where only a copy could do it
  // The same bytes, of a contiguous tensor, as elements of another dtype in row-major order; ShapeError where they do
  // not fill the shape or do not begin at a multiple of an element's size.
  Tensor bytes_as(DType dtype, const Shape& shape) const;

  // Copies.
  Tensor clone() const;       // always a new contiguous tensor
  Tensor contiguous() const;  // itself when contiguous, else a clone
  Tensor to(Device device) const;
  Tensor to(DType dtype) const;  // floats to integers truncate; complex to real is a DTypeError

  // The only element of a tensor of size 1. Copies it and waits when the tensor is on another device.
  template <class T>
  T item() const {
    check_item();
    return device().is_cpu() ? *data<T>() : *to(kCpu).data<T>();
  }

  // Counts an in-place write; every kernel that writes into an existing tensor calls it, so that backward can tell when
  // a tensor that it saved has changed since.
  void bump_version() { storage().version.fetch_add(1, std::memory_order_relaxed); }
  std::uint32_t version() const { return storage().version.load(std::memory_order_relaxed); }

  // Tensors of one dtype, shape and strides that lie at equal distances in one storage, as a view [S, ...] of all of
  // them; undefined where they do not lie so.
  static Tensor stack_where_they_lie(const std::vector<Tensor>& parts);

 private:
  int wrap_dim(const char* op, int dim, int extra = 0) const;
  std::byte* checked_data(DType wanted) const;
  std::byte* raw_data() const;
  Storage& storage() const;  // Error when undefined
  std::size_t contiguous_size() const;
  void check_view_rank(int rank) const;
  void check_item() const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  Shape strides_;
  Index offset_ = 0;
  DType dtype_ = kFloat32;
};

// Factories. Elements of empty() are unset. `op` is named when there is no memory left: the function that asks, since
// functions bear the names of their ops.
Tensor empty(const Shape& shape, DType dtype, Device device, const char* op = __builtin_FUNCTION());
Tensor zeros(const Shape& shape, DType dtype, Device device, const char* op = __builtin_FUNCTION());
Tensor full(const Shape& shape, double value, DType dtype, Device device, const char* op = __builtin_FUNCTION());
Tensor arange(Index count, DType dtype, Device device);                        // 0, 1, ..., count - 1
Tensor empty_like(const Tensor& like, const char* op = __builtin_FUNCTION());  // contiguous, same shape, dtype, device
Tensor zeros_like(const Tensor& like, const char* op = __builtin_FUNCTION());

// A CPU tensor holding a copy of the values; ShapeError when their number is not shape.size().
template <class T>
Tensor tensor(std::span<const T> values, const Shape& shape) {
  Tensor out = empty(shape, dtype_of<T>(), kCpu);
  if (static_cast<std::size_t>(out.size()) != values.size())
    throw ShapeError(cat("tensor: ", values.size(), " values for shape ", shape));
  if (!values.empty()) std::memcpy(out.data<T>(), values.data(), values.size_bytes());
  return out;
}
template <class T>
Tensor tensor(std::initializer_list<T> values, const Shape& shape) {
  return tensor<T>(std::span<const T>(values.begin(), values.size()), shape);
}
template <class T>
Tensor tensor(const std::vector<T>& values, const Shape& shape) {
  return tensor<T>(std::span<const T>(values), shape);
}

// In place: every element of `out` (any strides).
void fill(Tensor& out, double value);

// Same shape; any strides, dtypes and devices. From the CPU to a GPU it returns before the copy is done, and `from` may
// change at once; from a GPU to the CPU it waits. Two GPUs exchange through the CPU. None of these three can be part of
// a Graph (core/graph.h): that is an Error.
void copy(const Tensor& from, Tensor& to);

// Like NumPy: nested brackets, at most about 1000 elements in full, larger ones with "..." in the middle of each axis.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

}  // namespace subquad
