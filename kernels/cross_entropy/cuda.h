// CUDA kernels of cross_entropy.h. Arguments are checked (labels apart) and outputs allocated by the caller.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

// A label outside [0, C) is reported (core/cuda/report.h); its sample has loss 0 and gradient 0. `dlogits` may be
// undefined.
void cross_entropy(const Tensor& logits, const Tensor& labels, Tensor& losses, Tensor& dlogits);
void cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits, Tensor& dx);

}  // namespace subquad::kernels::cuda
