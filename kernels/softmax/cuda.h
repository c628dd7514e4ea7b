// CUDA kernels of softmax.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void softmax(const Tensor& x, Tensor& y);
void softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx);
void log_softmax(const Tensor& x, Tensor& y);
void log_softmax_grad(const Tensor& dout, const Tensor& y, Tensor& dx);

}  // namespace subquad::kernels::cuda
