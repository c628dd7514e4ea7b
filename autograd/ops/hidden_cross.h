// FSAT's hidden-state cross as a differentiable op with two outputs; see kernels/hidden_cross/hidden_cross.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad {

struct HiddenCross {
  Variable lag, col;  // [B, N, C], rows beyond a sample's length are 0
};

// a, b [B, N, C]; a prefix mask [B, N] or none; shift [C], a bias of a, or an undefined one
HiddenCross hidden_cross(const Variable& a, const Variable& b, const Mask& mask = {}, const Variable& shift = {});

}  // namespace subquad
