// Depth-wise convolution along the positions, one filter per head (kernels/conv1d).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/conv1d/conv1d.h"

namespace subquad {

using kernels::PaddedRows;

// base + taps * x: x, base [B, H, N, C], taps [H, K] -> [B, H, N, C]. An undefined `base` counts as 0.
Variable conv1d(const Variable& x, const Variable& taps, const Mask& mask = {}, const Variable& base = {},
                PaddedRows padded = PaddedRows::kept);

}  // namespace subquad
