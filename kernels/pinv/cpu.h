// CPU kernels of pinv.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/pinv/pinv.h"

namespace subquad::kernels::cpu {

void pinv(const Tensor& a, const PinvOptions& options, PinvOutput& result);
void pinv_grad(const Tensor& dout, const Tensor& a, const PinvOutput& forward, const PinvOptions& options, Tensor& da);

}  // namespace subquad::kernels::cpu
