// The names by which the room's front door asks a backend for a function.
#pragma once

namespace subquad::kernels {

enum class Unary { neg, log, sqrt, rsqrt, relu, abs, sign, square, reciprocal };
enum class Curve { exp, tanh, sigmoid, gelu };  // functions of one operand that have vector forms of their own
enum class WithNumber { add, mul, pow };
enum class Binary { add, sub, mul, div, maximum, minimum, relu_grad };
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal };

}  // namespace subquad::kernels
