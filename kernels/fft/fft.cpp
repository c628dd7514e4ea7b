#include "subquad/kernels/fft/fft.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "subquad/core/check.h"
#include "subquad/kernels/fft/cpu.h"
#include "subquad/kernels/fft/cuda.h"

namespace subquad::kernels {
namespace {

// A shape seen from the axis: [outer, n, inner].
struct Around {
  int axis;
  Shape shape;

  Index signals() const { return shape[0] * shape[2]; }
};

Around check_axis(const char* op, const char* name, const Tensor& x, int axis) {
  check_contiguous(op, name, x);
  const int from_front = axis < 0 ? axis + x.rank() : axis;
  if (from_front < 0 || from_front >= x.rank())
    throw ShapeError(
        cat(op, ": axis is ", axis, ", expected ", -x.rank(), " to ", x.rank() - 1, " for ", name, ' ', x.shape()));
  Around around = {from_front, {1, x.dim(from_front), 1}};
  for (int d = 0; d < x.rank(); ++d)
    if (d != from_front) around.shape[d < from_front ? 0 : 2] *= x.dim(d);
  return around;
}

void check_complex(const char* op, const char* name, const Tensor& x) {
  check_defined(op, name, x);
  if (!is_complex(x.dtype()))
    throw DTypeError(cat(op, ": ", name, " is ", describe(x), ", expected complex64 or complex128"));
}

DType complex_of(DType real) {
  return real == kFloat32 ? kComplex64 : kComplex128;
}
DType real_of(DType complex) {
  return complex == kComplex64 ? kFloat32 : kFloat64;
}

Tensor complex_transform(const char* op, const char* name, const Tensor& x, int axis, bool backward, bool divide) {
  check_complex(op, name, x);
  const Around around = check_axis(op, name, x, axis);
  Tensor out = empty(x.shape(), x.dtype(), x.device(), op);
  if (x.size() == 0) return out;
  const Tensor lines = x.reshape(around.shape);
  Tensor seen = out.reshape(around.shape);
  const double scale = divide ? 1 / static_cast<double>(around.shape[1]) : 1;
  on_device(
      x.device(), [&](auto) { cpu::fft(lines, backward, scale, seen); },
      [&](auto) { cuda::fft(lines, backward, scale, seen); }, real_transforms(2 * around.signals(), around.shape[1]),
      op);
  return out;
}

// The spectrum of a real x, times 1 or (for the transpose of irfft) 1 / n and 2 inside.
Tensor real_transform(const char* op, const char* name, const Tensor& x, int axis, bool transposed) {
  check_float(op, name, x);
  const Around around = check_axis(op, name, x, axis);
  const Index n = around.shape[1], bins = n / 2 + 1;
  Tensor out = empty(x.shape().with(around.axis, bins), complex_of(x.dtype()), x.device(), op);
  if (n == 0) fill(out, 0);
  if (n == 0 || out.size() == 0) return out;
  const Tensor lines = x.reshape(around.shape);
  Tensor seen = out.reshape(around.shape.with(1, bins));
  const double scale = transposed ? 1 / static_cast<double>(n) : 1, inside = transposed ? 2 : 1;
  on_device(
      x.device(), [&](auto) { cpu::rfft(lines, scale, inside, seen); },
      [&](auto) { cuda::rfft(lines, scale, inside, seen); }, real_transforms(around.signals(), n), op);
  return out;
}

Tensor inverse_real_transform(const char* op, const char* name, const Tensor& x, Index n, int axis, bool transposed) {
  check_complex(op, name, x);
  const Around around = check_axis(op, name, x, axis);
  if (n < 0 || around.shape[1] != n / 2 + 1)
    throw ShapeError(cat(op, ": n is ", n, ", expected ", std::max<Index>(0, 2 * around.shape[1] - 2), " or ",
                         std::max<Index>(0, 2 * around.shape[1] - 1), " for axis ", axis, " of ", name, ' ',
                         x.shape()));
  Tensor out = empty(x.shape().with(around.axis, n), real_of(x.dtype()), x.device(), op);
  if (out.size() == 0) return out;
  const Tensor lines = x.reshape(around.shape);
  Tensor seen = out.reshape(around.shape.with(1, n));
  const double scale = transposed ? 1 : 1 / static_cast<double>(n), inside = transposed ? 0.5 : 1;
  on_device(
      x.device(), [&](auto) { cpu::irfft(lines, scale, inside, seen); },
      [&](auto) { cuda::irfft(lines, scale, inside, seen); }, real_transforms(around.signals(), n), op);
  return out;
}

// A view, or of numbers that stand across the boundaries of complex ones a copy.
Tensor as_complex_numbers(const Tensor& x) {
  const DType complex = complex_of(x.dtype());
  const auto address = reinterpret_cast<std::uintptr_t>(x.bytes());
  const bool aligned = address % dtype_bytes(complex) == 0;
  return (aligned ? x : x.clone()).bytes_as(complex, x.shape().without(x.rank() - 1));
}

}  // namespace

Tensor fft(const Tensor& x, int axis) {
  return complex_transform("fft", "x", x, axis, false, false);
}

Tensor ifft(const Tensor& x, int axis) {
  return complex_transform("ifft", "x", x, axis, true, true);
}

Tensor rfft(const Tensor& x, int axis) {
  return real_transform("rfft", "x", x, axis, false);
}

Tensor irfft(const Tensor& x, Index n, int axis) {
  return inverse_real_transform("irfft", "x", x, n, axis, false);
}

Tensor fft_grad(const Tensor& dout, int axis) {
  return complex_transform("fft_grad", "dout", dout, axis, true, false);
}

Tensor ifft_grad(const Tensor& dout, int axis) {
  return complex_transform("ifft_grad", "dout", dout, axis, false, true);
}

Tensor rfft_grad(const Tensor& dout, Index n, int axis) {
  return inverse_real_transform("rfft_grad", "dout", dout, n, axis, true);
}

Tensor irfft_grad(const Tensor& dout, int axis) {
  return real_transform("irfft_grad", "dout", dout, axis, true);
}

Tensor complex_to_pairs(const Tensor& x) {
  check_complex("complex_to_pairs", "x", x);
  check_contiguous("complex_to_pairs", "x", x);
  return x.bytes_as(real_of(x.dtype()), x.shape().inserted(x.rank(), 2));
}

Tensor pairs_to_complex(const Tensor& x) {
  check_float("pairs_to_complex", "x", x);
  check_contiguous("pairs_to_complex", "x", x);
  if (x.rank() == 0 || x.dim(-1) != 2)
    throw ShapeError(cat("pairs_to_complex: x is ", describe(x), ", expected a last extent of 2: (re, im)"));
  return as_complex_numbers(x);
}

Flops real_transforms(Index signals, Index n) {
  const auto length = static_cast<double>(n);
  return {static_cast<double>(signals) * 2.5 * length * std::log2(std::max(length, 2.0))};
}

}  // namespace subquad::kernels
