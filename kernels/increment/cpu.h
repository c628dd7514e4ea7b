#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void increment(Tensor& count, const Tensor& gate);

}  // namespace subquad::kernels::cpu
