#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void spread_bias(const Tensor& bias, Tensor& out);         // bias [O] in every row of out [rows, O], contiguous
void linear_grad_bias(const Tensor& dout, Tensor& dbias);  // dout [rows, O], dbias [O]

}  // namespace subquad::kernels::cuda
