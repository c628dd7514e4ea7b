// The names by which the room's front door asks a backend for a function.
#pragma once

#include "subquad/core/dtype.h"

namespace subquad::kernels {

enum class Unary { neg, log, sqrt, rsqrt, relu, abs, sign, square, reciprocal };
enum class Curve { exp, tanh, sigmoid, gelu };  // functions of one operand that have vector forms of their own
enum class WithNumber { add, mul, pow };
enum class Binary { add, sub, mul, div, maximum, minimum, relu_grad };
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal };

// What comparisons and where take: calls f(Type<T>) with float, double or int64.
template <class F>
void visit_number(const char* op, DType dtype, F&& f) {
  if (dtype == kInt64) return f(Type<std::int64_t>{});
  visit_float(op, dtype, f);
}

}  // namespace subquad::kernels
