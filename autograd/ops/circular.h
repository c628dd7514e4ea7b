// Circular convolution and correlation along N as differentiable ops; see kernels/circular/circular.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad {

// a, b [B, N, D], a prefix mask [B, N] or none -> [B, N, D]
Variable circular_convolve(const Variable& a, const Variable& b, const Mask& mask = {});
Variable circular_correlate(const Variable& a, const Variable& b, const Mask& mask = {});

}  // namespace subquad
