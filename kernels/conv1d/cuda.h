// The CUDA kernels behind conv1d.h. Arguments are checked and outputs allocated by the caller; the features of a
// position are contiguous.
#pragma once

#include "subquad/kernels/conv1d/conv1d.h"

namespace subquad::kernels::cuda {

void conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded, Tensor& out);

// grads.dbase may be undefined.
void conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask, PaddedRows padded,
                 Conv1dGrads& grads);

}  // namespace subquad::kernels::cuda
