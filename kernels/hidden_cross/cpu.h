// CPU kernels of hidden_cross.h. Arguments are checked and outputs allocated by the caller; an undefined shift is 0.
#pragma once

#include "subquad/kernels/hidden_cross/hidden_cross.h"

namespace subquad::kernels::cpu {

// Puts the spectra where there is room for them.
void hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift, const CyclicSpectra& keep,
                  HiddenCross& out);
void hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b, const Mask& mask,
                       const Tensor& shift, const CyclicSpectra& spectra, HiddenCrossGrads& grads);

}  // namespace subquad::kernels::cpu
