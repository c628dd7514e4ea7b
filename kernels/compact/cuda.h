// The CUDA kernels behind compact.h; the contracts of cpu.h.
#pragma once

#include "subquad/core/mask.h"

namespace subquad::kernels::cuda {

void compact(const Tensor& x, const Mask& mask, Tensor& out);
void spread(const Tensor& x, const Mask& mask, Tensor& out);
void prefix_positions(const Tensor& lengths, Tensor& real);

}  // namespace subquad::kernels::cuda
