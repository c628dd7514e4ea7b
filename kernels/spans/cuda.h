// The CUDA kernels behind spans.h. Arguments are checked, results are contiguous.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void segment_spans(Index size, Tensor& spans);
void level_spans(Index positions, Tensor& spans);
void spans_of_segments(const Tensor& starts, Tensor& spans);

// For owners of positions: span numbers that begin runs in which no span overlaps another, as disjoint_runs cuts them.
// runs [1 or B, S + 2], int64: how many runs there are, the first span of each, and S. Undefined for a table of few
// spans that all samples share: each block finds its runs by itself, which spares a launch.
Tensor span_runs(const Tensor& spans);

}  // namespace subquad::kernels::cuda
