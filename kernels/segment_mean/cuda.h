// The CUDA kernels behind segment_mean.h. Arguments are checked and outputs allocated by the caller; the features of a
// position are contiguous.
#pragma once

#include "subquad/kernels/segment_mean/segment_mean.h"

namespace subquad::kernels::cuda {

void segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& out);
void segment_mean_grad(const Tensor& dout, const Tensor& starts, const Mask& mask, MeanDivisor divisor, Tensor& dx);

}  // namespace subquad::kernels::cuda
