// Depth-wise convolution along the positions, one filter per head (kernels/conv1d).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad {

// base + taps * x: x, base [B, H, N, C], taps [H, K] -> [B, H, N, C]. An undefined `base` counts as 0.
Variable conv1d(const Variable& x, const Variable& taps, const Mask& mask = {}, const Variable& base = {});

}  // namespace subquad
