// The CUDA kernels behind segment_mean.h. Arguments are checked and outputs allocated by the caller; the features of a
// position are contiguous.
#pragma once

#include "subquad/kernels/segment_mean/segment_mean.h"

namespace subquad::kernels::cuda {

// Any number of tensors: three per launch, and two uses of each, those beyond added one by one.
void segment_means(const std::vector<Tensor>& xs, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                   std::vector<Tensor>& outs);
// Of a prefix mask and tensors that are not empty; result.cut is written, too.
void segment_means_of_real(const std::vector<Tensor>& xs, const Mask& mask, RealSegmentMeans& result);
void segment_means_grad(const std::vector<MeanGrad>& grads, const Tensor& starts, const Mask& mask, MeanDivisor divisor,
                        std::vector<Tensor>& dxs);

}  // namespace subquad::kernels::cuda
