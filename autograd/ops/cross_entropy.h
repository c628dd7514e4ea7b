// Cross entropy of class logits [B, C] and labels int64 [B] (kernels/cross_entropy).
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable cross_entropy(const Variable& logits, const Tensor& labels);       // the mean over the batch; 0 when B = 0
Variable cross_entropy_each(const Variable& logits, const Tensor& labels);  // [B]

}  // namespace subquad
