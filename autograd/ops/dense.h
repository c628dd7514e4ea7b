// An affine map with activation, dropout and residual as one differentiable op; see kernels/dense/dense.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/dense/dense.h"

namespace subquad {

using kernels::DenseOptions;

// x [B, ..., I], weight [I, O]; bias [O] and residual [B, ..., O] may be undefined. On a GPU it is linear and
// bias_act_dropout, one after the other.
Variable dense(const Variable& x, const Variable& weight, const Variable& bias, const DenseOptions& options,
               const Variable& residual = {});

}  // namespace subquad
