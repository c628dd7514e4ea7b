// The names by which the room's front door asks a backend for a function.
#pragma once

namespace subquad::kernels {

enum class Unary { neg, exp, log, sqrt, rsqrt, tanh, sigmoid, relu, gelu, abs, sign, square, reciprocal };
enum class WithNumber { add, mul, pow };
enum class Binary { add, sub, mul, div, maximum, minimum, relu_grad, gelu_grad };
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal };

}  // namespace subquad::kernels
