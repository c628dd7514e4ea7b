// Products of sparse factors with values (kernels/chord_matmul): both weights and values get gradients.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/chord_matmul/chord_matmul.h"

namespace subquad {

using kernels::Links;
using kernels::MixResidual;

// weights [B, N, L] or [N, L], values [B, N, D] -> [B, N, D]; with `residual` values are added.
Variable chord_matmul(const Variable& weights, const Variable& values, const Links& links, const Mask& mask = {},
                      bool residual = false);

// weights [B, N, 2] or [N, 2]: row i links i and i XOR distance.
Variable butterfly_matmul(const Variable& weights, const Variable& values, Index distance, const Mask& mask = {});

// M factors one after the other: weights [M, B, N, L] or [M, N, L], one Links each. Keeps V_1 ... V_{M-1} for backward.
Variable chord_chain(const Variable& weights, const Variable& values, const std::vector<Links>& links,
                     MixResidual residual, const Mask& mask = {});

}  // namespace subquad
