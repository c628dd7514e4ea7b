#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void linear_grad_bias(const Tensor& dout, Tensor& dbias);  // dout [rows, O], dbias [O]

}  // namespace subquad::kernels::cpu
