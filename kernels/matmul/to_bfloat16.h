// The one place where float32 operands of products become bfloat16 (CUDA, Precision::bf16).
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

// The values of x (float32, rank >= 2, matrices row-major or the transpose of row-major), each rounded to the nearest
// bfloat16, ties to even. The result's matrices lie as those of x, without gaps; a dimension along which x repeats
// itself (stride 0) has extent 1 there, to be broadcast again.
Tensor to_bfloat16(const Tensor& x);

}  // namespace subquad::kernels::cuda
