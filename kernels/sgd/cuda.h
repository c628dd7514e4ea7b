#pragma once

#include "subquad/kernels/sgd/sgd.h"

namespace subquad::kernels::cuda {

void sgd(Tensor& param, const Tensor& grad, Tensor& velocity, const Tensor& rate, const Tensor& grad_scale,
         const SgdOptions& options);

}  // namespace subquad::kernels::cuda
