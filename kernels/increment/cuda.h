#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void increment(Tensor& count);

}  // namespace subquad::kernels::cuda
