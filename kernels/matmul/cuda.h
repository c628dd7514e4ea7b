// The CUDA product that matmul and linear share.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

// out = alpha * a b + beta * out, by cuBLAS. Arguments as matmul_into has checked them; a and b may both be bfloat16
// where out is float32.
void matmul(const Tensor& a, const Tensor& b, double alpha, double beta, Tensor& out);

}  // namespace subquad::kernels::cuda
