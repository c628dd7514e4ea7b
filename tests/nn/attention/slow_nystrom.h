// The equations of nn/attention/nystrom.h as plain double loops over whole matrices.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/nn/attention/config.h"

namespace subquad::test::slow {

// q, k [B, H, N, E], values [B, H, N, C], taps [H, K] or undefined -> [B, H, N, C], float64 on the CPU.
Tensor nystrom_attention(const Tensor& q, const Tensor& k, const Tensor& values, const Tensor& taps, const Mask& mask,
                         const nn::NystromConfig& config);

}  // namespace subquad::test::slow
