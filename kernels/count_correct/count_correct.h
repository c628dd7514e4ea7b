// How many rows of logits have their largest entry, the first if several, at the label. A row with a NaN, or without
// entries, is never right.
//
//   logits [B, C] float32 or float64, contiguous   labels int64 [B]   out int32 [1], on the same device
//
// Nothing waits for the device: the count stays there. Work: one read of the logits.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor count_correct(const Tensor& logits, const Tensor& labels);

}  // namespace subquad::kernels
