// What training minimises and what it reports.
#pragma once

#include "subquad/autograd/ops/cross_entropy.h"

namespace subquad::nn {

using subquad::cross_entropy;  // (logits [B, C], labels int64 [B]) -> the mean over B, 0 for an empty batch

// The mean of (prediction - target)^2 over all elements, 0 when there are none. Same shape and dtype: a target that
// would broadcast is a ShapeError. The target may require a gradient, too.
Variable mean_squared_error(const Variable& prediction, const Variable& target);

}  // namespace subquad::nn
