#pragma once

#include "subquad/kernels/adamw/adamw.h"

namespace subquad::kernels::cuda {

void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1);

}  // namespace subquad::kernels::cuda
