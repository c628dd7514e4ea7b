// CPU kernel of count_correct.h. Arguments are checked by the caller; `count` is 0.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void count_correct(const Tensor& logits, const Tensor& labels, Tensor& count);

}  // namespace subquad::kernels::cpu
