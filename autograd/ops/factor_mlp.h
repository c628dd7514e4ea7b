// M two-layer perceptrons on the same rows, gradients included (kernels/factor_mlp).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad {

// x [B, N, I], first [M, I, H], first_bias [M, H], second [M, H, O], second_bias [M, O] -> [M, B, N, O]; hidden values
// are computed again in backward. Padded rows are not read and come out as 0.
Variable factor_mlp(const Variable& x, const Variable& first, const Variable& first_bias, const Variable& second,
                    const Variable& second_bias, const Mask& mask = {});

}  // namespace subquad
