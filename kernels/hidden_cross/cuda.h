// CUDA kernels of hidden_cross.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/hidden_cross/hidden_cross.h"

namespace subquad::kernels::cuda {

void hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, HiddenCross& out);

// dlag and dcol may be undefined.
void hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                       HiddenCrossGrads& grads);

}  // namespace subquad::kernels::cuda
