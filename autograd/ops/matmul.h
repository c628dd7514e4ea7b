// Matrix product over the last two dimensions, batch dimensions broadcast. Contract: kernels/matmul/matmul.h.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable matmul(const Variable& a, const Variable& b);  // [..., M, K] x [..., K, N] -> [..., M, N]

}  // namespace subquad
