// copy() and fill(): the only loops over elements that core needs. Strided tensors are walked row by row, where a row
// is the last dimension. Their CUDA kernels: core/cuda/copy.cu.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "subquad/core/check.h"
#include "subquad/core/convert.h"
#include "subquad/core/cuda/copy.h"
#include "subquad/core/cuda/staging.h"
#include "subquad/core/parallel.h"
#include "subquad/core/tensor.h"

namespace subquad {
namespace {

// Where the rows of a tensor begin (in elements), row after row in row-major order: a division per row would take
// longer than to copy a short one.
class RowStarts {
 public:
  RowStarts(const Tensor& t, Index row) : shape_(t.shape()), strides_(t.strides()) {
    for (int d = shape_.rank() - 2; d >= 0; --d) {
      at_[d] = row % shape_[d];
      offset_ += at_[d] * strides_[d];
      row /= shape_[d];
    }
  }
  Index offset() const { return offset_; }
  void next() {
    for (int d = shape_.rank() - 2; d >= 0; --d) {
      offset_ += strides_[d];
      if (++at_[d] < shape_[d]) return;
      offset_ -= at_[d] * strides_[d];
      at_[d] = 0;
    }
  }

 private:
  Shape shape_, strides_;
  Index at_[kMaxRank] = {};
  Index offset_ = 0;
};

struct Rows {
  Index count = 1;
  Index length = 1;
};

Rows rows_of(const Shape& shape) {
  if (shape.rank() == 0) return {};
  const Index length = shape.back();
  return {length == 0 ? 0 : shape.size() / length, length};
}

// Some 4096 elements to a task.
Index rows_per_task(const Rows& rows) {
  return std::max<Index>(1, 4096 / std::max<Index>(rows.length, 1));
}

Index last_stride(const Tensor& t) {
  return t.rank() == 0 ? 1 : t.strides().back();
}

namespace cpu {

template <class From, class To>
void copy_rows(const Tensor& from, Tensor& to) {
  const From* source = from.data<From>();
  To* target = to.data<To>();
  const Index step_in = last_stride(from), step_out = last_stride(to);
  const Rows rows = rows_of(to.shape());
  parallel_chunks(rows.count, rows_per_task(rows), rows.length, [&](Index begin, Index end) {
    RowStarts in_row(from, begin), out_row(to, begin);
    for (Index r = begin; r < end; ++r, in_row.next(), out_row.next()) {
      const From* in = source + in_row.offset();
      To* out = target + out_row.offset();
      if (step_in == 1 && step_out == 1) {
        for (Index i = 0; i < rows.length; ++i) out[i] = convert<To>(in[i]);
      } else {
        for (Index i = 0; i < rows.length; ++i) out[i * step_out] = convert<To>(in[i * step_in]);
      }
    }
  });
}

void copy(const Tensor& from, Tensor& to) {
  if (from.dtype() == to.dtype() && from.is_contiguous() && to.is_contiguous()) {
    const Index bytes = from.size() * static_cast<Index>(dtype_bytes(from.dtype()));
    const std::byte* source = from.bytes();
    std::byte* target = to.bytes();
    parallel_chunks(bytes, Index{1} << 20, 1,
                    [&](Index begin, Index end) { std::copy(source + begin, source + end, target + begin); });
  } else {
    visit_any(from.dtype(), [&]<class From>(Type<From>) {
      visit_any(to.dtype(), [&]<class To>(Type<To>) {
        if constexpr (!kIsComplex<From> || kIsComplex<To>) copy_rows<From, To>(from, to);
      });
    });
  }
}

// Are its elements those of one piece of memory, whatever the order of its dimensions? Heads that lie between each
// other are, [B, H, N, E] in memory as [B, N, H, E].
bool without_gaps(const Tensor& t) {
  Index covered = 1;
  for (bool grows = true; grows;) {
    grows = false;
    for (int d = 0; d < t.rank(); ++d)
      if (t.dim(d) > 1 && t.strides()[d] == covered) {
        covered *= t.dim(d);
        grows = true;
      }
  }
  return covered == t.size() || t.size() == 0;
}

// Zeros, which most fills write, go by memset: it uses the widest stores of the processor, a loop those of the
// baseline.
template <class T>
void fill_run(T* target, Index count, T element) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(&element);
  if (std::all_of(bytes, bytes + sizeof(T), [](unsigned char byte) { return byte == 0; }))
    std::memset(static_cast<void*>(target), 0, static_cast<std::size_t>(count) * sizeof(T));
  else
    std::fill_n(target, count, element);
}

void fill(Tensor& out, double value) {
  visit_any(out.dtype(), [&]<class T>(Type<T>) {
    const T element = convert<T>(value);
    T* target = out.data<T>();
    if (without_gaps(out)) {
      parallel_chunks(out.size(), Index{1} << 18, 1,
                      [&](Index begin, Index end) { fill_run(target + begin, end - begin, element); });
    } else {
      const Rows rows = rows_of(out.shape());
      const Index step = last_stride(out);
      parallel_chunks(rows.count, rows_per_task(rows), rows.length, [&](Index begin, Index end) {
        RowStarts starts(out, begin);
        for (Index r = begin; r < end; ++r, starts.next()) {
          T* row = target + starts.offset();
          for (Index i = 0; i < rows.length; ++i) row[i * step] = element;
        }
      });
    }
  });
}

}  // namespace cpu

// Bytes cross between the CPU and a GPU without gaps and in the dtype they are wanted in; what it takes to get there
// happens before (on the device of `from`) and after (on that of `to`).
void copy_between_devices(const Tensor& from, Tensor& to) {
  if (!from.device().is_cpu() && !to.device().is_cpu()) return copy(from.to(kCpu), to);
  const Tensor packed = from.to(to.dtype()).contiguous();
  Tensor landing = to.is_contiguous() ? to : empty(to.shape(), to.dtype(), to.device());
  const std::size_t bytes = static_cast<std::size_t>(packed.size()) * dtype_bytes(packed.dtype());
  const bool up = from.device().is_cpu();
  on_device(
      up ? to.device() : from.device(), [](auto) {},
      [&](auto) {
        if (up)
          cuda::upload(packed.bytes(), landing.bytes(), bytes);
        else
          cuda::download(packed.bytes(), landing.bytes(), bytes);
      },
      "copy");
  if (!landing.shares_storage_with(to)) copy(landing, to);
}

}  // namespace

void copy(const Tensor& from, Tensor& to) {
  check_shape("copy", "from", from, to.shape());
  if (is_complex(from.dtype()) && !is_complex(to.dtype()))
    throw DTypeError(cat("copy: from ", from.dtype(), " to ", to.dtype(), " would drop the imaginary part"));
  if (to.size() == 0) return;
  if (from.device() != to.device())
    copy_between_devices(from, to);
  else
    on_device(
        to.device(), [&](auto) { cpu::copy(from, to); }, [&](auto) { cuda::copy(from, to); });
  to.bump_version();
}

void fill(Tensor& out, double value) {
  check_defined("fill", "out", out);
  on_device(
      out.device(), [&](auto) { cpu::fill(out, value); }, [&](auto) { cuda::fill(out, value); });
  out.bump_version();
}

}  // namespace subquad
