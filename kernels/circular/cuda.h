// The CUDA kernels of circular.h. Arguments are checked and the output allocated by the caller.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void circular(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, Tensor& out);

}  // namespace subquad::kernels::cuda
