// The one place where float32 operands of products become bfloat16 (CUDA, Precision::bf16).
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

// The values of each x (float32, rank >= 2, matrices row-major or the transpose of row-major), each rounded to the
// nearest bfloat16, ties to even. A result's matrices lie as those of x, without gaps; a dimension along which x
// repeats itself (stride 0) has extent 1 there, to be broadcast again. The results lie one behind the other in one
// storage, those of tensors alike at equal distances. One launch for each eight of them; 6 bytes move per element.
std::vector<Tensor> to_bfloat16(const std::vector<Tensor>& tensors);

}  // namespace subquad::kernels::cuda
