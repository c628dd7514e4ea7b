// CPU kernels of segment_mean.h. Arguments are checked and outputs allocated by the caller; the features of a position
// are contiguous.
#pragma once

#include <vector>

#include "subquad/kernels/segment_mean/segment_mean.h"

namespace subquad::kernels::cpu {

void segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out);

// Reads every use once and writes dx once; grad.dout may be undefined.
void segment_mean_grad(const MeanGrad& grad, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx);

}  // namespace subquad::kernels::cpu
