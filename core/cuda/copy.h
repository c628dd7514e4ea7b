// copy() and fill() on one CUDA device (core/tensor.h has the contract): any strides, any dtypes.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::cuda {

void copy(const Tensor& from, Tensor& to);
void fill(Tensor& out, double value);

}  // namespace subquad::cuda
