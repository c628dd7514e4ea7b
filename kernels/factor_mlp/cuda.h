// CUDA kernels of factor_mlp.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/factor_mlp/factor_mlp.h"

namespace subquad::kernels::cuda {

void factor_mlp(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out);

// dx may be undefined.
void factor_mlp_grad(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx,
                     FactorMlp& grads);

}  // namespace subquad::kernels::cuda
