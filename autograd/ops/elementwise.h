// Functions applied element by element (kernels/elementwise), with NumPy's broadcasting: the gradient of a broadcast
// operand is summed back to its shape. At a kink the gradient is that of one side, as said below.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
// The gradient goes to the operand that the result is: to a where both are equal, to the NaN where one is (b's if
// both).
Variable maximum(const Variable& a, const Variable& b);
Variable minimum(const Variable& a, const Variable& b);

// cond: bool. Only the chosen element of a and b gets a gradient.
Variable where(const Tensor& cond, const Variable& a, const Variable& b);

Variable neg(const Variable& x);
Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable rsqrt(const Variable& x);
Variable tanh(const Variable& x);
Variable sigmoid(const Variable& x);
Variable relu(const Variable& x);  // gradient 0 at 0
Variable gelu(const Variable& x);  // the erf form
Variable abs(const Variable& x);   // gradient 0 at 0
Variable square(const Variable& x);
Variable reciprocal(const Variable& x);

Variable add_scalar(const Variable& x, double number);
Variable mul_scalar(const Variable& x, double number);
Variable pow_scalar(const Variable& x, double exponent);

}  // namespace subquad
