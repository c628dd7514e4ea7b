#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void grad_norm(const Tensor& grad, Tensor& norm);
void clip_scale(const Tensor& norm, double max_norm, Tensor& scale);

}  // namespace subquad::kernels::cuda
