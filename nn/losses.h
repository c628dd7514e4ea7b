// What training minimises and what it reports.
#pragma once

#include "subquad/autograd/ops/cross_entropy.h"

namespace subquad::nn {

using subquad::cross_entropy;  // (logits [B, C], labels int64 [B]) -> the mean over B, 0 for an empty batch

// How many rows of logits [B, C] have their largest entry (the first, if several) at the label. A row with a NaN is
// never right.
Index count_correct(const Tensor& logits, const Tensor& labels);

}  // namespace subquad::nn
