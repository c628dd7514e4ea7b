// The CUDA kernels behind matmul_or.h, for float32 matrices of at most 128 rows and columns. Arguments are checked and
// outputs allocated by the caller.
#pragma once

#include "subquad/kernels/matmul/matmul_or.h"

namespace subquad::kernels::cuda {

void matmul_or(const Tensor& a, const Tensor& y, const Tensor& x, const Tensor& none, Tensor& out);
void matmul_or_grad(const Tensor& dout, const Tensor& a, const Tensor& y, const Tensor& none, MatmulOrGrads& grads);

}  // namespace subquad::kernels::cuda
