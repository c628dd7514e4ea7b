// The CPU product that matmul and linear share.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

// out = alpha * a b + beta * out, or, when `bias` [N] is defined (beta is then not used), alpha * a b + bias in every
// row. Arguments as matmul_into has checked them. The bias is written just before its piece of the product is added to
// it, so it costs no pass of its own.
void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, double alpha, double beta, Tensor& out);

}  // namespace subquad::kernels::cpu
