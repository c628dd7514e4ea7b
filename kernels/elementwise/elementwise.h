// Functions applied element by element, with NumPy's broadcasting where there are several operands.
//
//   out[i] = f(a[i])      out[i] = f(a[i], b[i])      out[i] = cond[i] ? a[i] : b[i]
//
// Operands may have any strides (expanded and transposed views are read in place); the result is new and contiguous.
// Operands of one call have one dtype and one device: float32 or float64, and int64 too where it is said. Nothing is
// promoted. Memory-bound except for the transcendental functions. Deterministic: one writer per element.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

// Two operands, broadcast against each other. A NaN in either operand makes maximum and minimum NaN.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);

// Comparisons: float32, float64 or int64 in, bool out. Any comparison with a NaN is false, but not_equal is true.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);

// cond: bool; a, b: float32, float64 or int64. All three broadcast. The element not chosen may be anything, NaN too.
Tensor where(const Tensor& cond, const Tensor& a, const Tensor& b);

// One operand.
Tensor neg(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);  // 1 / sqrt(x)
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);  // 1 / (1 + exp(-x))
Tensor relu(const Tensor& x);     // max(x, 0); NaN stays NaN
Tensor gelu(const Tensor& x);     // x * Phi(x) with the normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);  // -1, 0 or 1
Tensor square(const Tensor& x);
Tensor reciprocal(const Tensor& x);

// One operand and one number, which is rounded to the dtype first.
Tensor add_scalar(const Tensor& x, double number);
Tensor mul_scalar(const Tensor& x, double number);
Tensor pow_scalar(const Tensor& x, double exponent);  // as std::pow: NaN for x < 0 with a fractional exponent

// Gradients of the activations, from their input; dout and x have one shape.
Tensor relu_grad(const Tensor& dout, const Tensor& x);  // x > 0 ? dout : 0
Tensor gelu_grad(const Tensor& dout, const Tensor& x);  // dout * (Phi(x) + x * phi(x)), phi the normal density

// In place. `out` may have any strides that do not map two indices to one element; x has its shape and may be `out`
// itself, but not another view that overlaps it.
void add_into(Tensor& out, const Tensor& x);                  // out += x
void scale_into(Tensor& out, double factor);                  // out *= factor
void axpy_into(Tensor& out, double factor, const Tensor& x);  // out += factor * x

}  // namespace subquad::kernels
