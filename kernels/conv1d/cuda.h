// The CUDA kernels behind conv1d.h. Arguments are checked and outputs allocated by the caller; the features of a
// position are contiguous.
#pragma once

#include "subquad/kernels/conv1d/conv1d.h"

namespace subquad::kernels::cuda {

void conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded, Tensor& out);

// grads.dbase may be undefined; grads.dtaps becomes [P, H, K] where parts are wanted and not too many.
void conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask,
                 const Conv1dGradOptions& options, Conv1dGrads& grads);

}  // namespace subquad::kernels::cuda
