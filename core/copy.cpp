// copy() and fill(): the only loops over elements that core needs. Strided tensors are walked row by row, where a row
// is the last dimension.
#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"
#include "subquad/core/parallel.h"
#include "subquad/core/tensor.h"

namespace subquad {
namespace {

template <class T>
constexpr bool kIsComplex = std::same_as<T, std::complex<float>> || std::same_as<T, std::complex<double>>;

template <class To, class From>
To convert(From value) {
  if constexpr (std::same_as<To, From>)
    return value;
  else if constexpr (std::same_as<From, BFloat16>)
    return convert<To>(static_cast<float>(value));
  else if constexpr (kIsComplex<From>)
    return To(static_cast<typename To::value_type>(value.real()), static_cast<typename To::value_type>(value.imag()));
  else if constexpr (kIsComplex<To>)
    return To(static_cast<typename To::value_type>(value));
  else if constexpr (std::same_as<To, BFloat16>)
    return BFloat16(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

// Offset (in elements) of the first element of row `row`, where rows are counted in row-major order.
Index row_offset(Index row, const Shape& shape, const Shape& strides) {
  Index offset = 0;
  for (int d = shape.rank() - 2; d >= 0; --d) {
    offset += row % shape[d] * strides[d];
    row /= shape[d];
  }
  return offset;
}

struct Rows {
  Index count = 1;
  Index length = 1;
};

Rows rows_of(const Shape& shape) {
  if (shape.rank() == 0) return {};
  const Index length = shape.back();
  return {length == 0 ? 0 : shape.size() / length, length};
}

Index last_stride(const Tensor& t) {
  return t.rank() == 0 ? 1 : t.strides().back();
}

template <class From, class To>
void copy_rows(const Tensor& from, Tensor& to) {
  const From* source = from.data<From>();
  To* target = to.data<To>();
  const Index step_in = last_stride(from), step_out = last_stride(to);
  const Rows rows = rows_of(to.shape());
  parallel_for(rows.count, rows.length, [&](Index r) {
    const From* in = source + row_offset(r, from.shape(), from.strides());
    To* out = target + row_offset(r, to.shape(), to.strides());
    if (step_in == 1 && step_out == 1) {
      for (Index i = 0; i < rows.length; ++i) out[i] = convert<To>(in[i]);
    } else {
      for (Index i = 0; i < rows.length; ++i) out[i * step_out] = convert<To>(in[i * step_in]);
    }
  });
}

}  // namespace

void copy(const Tensor& from, Tensor& to) {
  check_shape("copy", "from", from, to.shape());
  if (is_complex(from.dtype()) && !is_complex(to.dtype()))
    throw DTypeError(cat("copy: from ", from.dtype(), " to ", to.dtype(), " would drop the imaginary part"));
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
  to.bump_version();
}

void fill(Tensor& out, double value) {
  check_defined("fill", "out", out);
  visit_any(out.dtype(), [&]<class T>(Type<T>) {
    const T element = convert<T>(value);
    T* target = out.data<T>();
    if (out.is_contiguous()) {
      parallel_chunks(out.size(), Index{1} << 18, 1,
                      [&](Index begin, Index end) { std::fill(target + begin, target + end, element); });
    } else {
      const Rows rows = rows_of(out.shape());
      const Index step = last_stride(out);
      parallel_for(rows.count, rows.length, [&](Index r) {
        T* row = target + row_offset(r, out.shape(), out.strides());
        for (Index i = 0; i < rows.length; ++i) row[i * step] = element;
      });
    }
  });
  out.bump_version();
}

}  // namespace subquad
