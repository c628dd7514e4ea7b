#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void increment(Tensor& count);

}  // namespace subquad::kernels::cpu
