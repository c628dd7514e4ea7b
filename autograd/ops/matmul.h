// Matrix product over the last two dimensions, batch dimensions broadcast. Contract: kernels/matmul/matmul.h.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable matmul(const Variable& a, const Variable& b);  // [..., M, K] x [..., K, N] -> [..., M, N]

// a y, or x in the samples that `none` names: kernels/matmul/matmul_or.h. a [B, H, M, M], y and x [B, H, M, C].
Variable matmul_or(const Variable& a, const Variable& y, const Variable& x, const Tensor& none);

}  // namespace subquad
