// The CUDA bodies of kernels/reduce, on the form x [A, R, K] as in cpu.h. All tensors contiguous.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void sum(const Tensor& x, Tensor& out);                                // [A, R, K] -> [A, K]
void max(const Tensor& x, Tensor& values, Tensor& indices);            // [A, R, K] -> [A, K]; R >= 1
void max_grad(const Tensor& dout, const Tensor& indices, Tensor& dx);  // [A, K] -> [A, R, K]; dx holds zeros

}  // namespace subquad::kernels::cuda
