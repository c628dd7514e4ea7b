// Means over consecutive segments (kernels/segment_mean).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/segment_mean/segment_mean.h"

namespace subquad {

using kernels::MeanDivisor;

// x [B, H, N, C], starts [B, S + 1] -> [B, H, S, C]
Variable segment_mean(const Variable& x, const Tensor& starts, const Mask& mask = {},
                      MeanDivisor divisor = MeanDivisor::real);

}  // namespace subquad
