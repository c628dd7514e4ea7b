// count[i] += 1 for every element, in place: the step number of an optimiser, the lengths of sequences that get one
// more position. A kernel, so that counting needs no host value and a captured step counts each time it is replayed.
//
//   count int64, contiguous   gate float64 [1] on the same device, or undefined: where it is a NaN nothing is counted
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

void increment(Tensor& count, const Tensor& gate = {});

}  // namespace subquad::kernels
