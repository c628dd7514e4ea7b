// The CUDA kernels behind segments.h. Arguments are checked and tables [B, S + 1] allocated by the caller.
#pragma once

#include "subquad/kernels/segments/segments.h"

namespace subquad::kernels::cuda {

void even_segments(Index positions, Tensor& starts);
void segments_from_end(Index positions, Tensor& starts);
void even_segments_of_real(const Mask& mask, RealSegments& cut);
void filled_segments(const Tensor& starts, const Mask& mask, Index positions, Mask& filled);

}  // namespace subquad::kernels::cuda
