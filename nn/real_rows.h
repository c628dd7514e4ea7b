// Zeros where a sequence is padded.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad::nn {

// x [B, N, ...] with 0 at padded positions: chosen, not multiplied, so that no value there can leak, and so that no
// product can carry one into a gradient. x itself without a mask.
Variable real_rows(const Variable& x, const Mask& mask);

}  // namespace subquad::nn
