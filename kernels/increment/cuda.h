#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void increment(Tensor& count, const Tensor& gate);

}  // namespace subquad::kernels::cuda
