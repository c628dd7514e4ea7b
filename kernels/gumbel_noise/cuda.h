// The CUDA kernel behind gumbel_noise.h. Arguments are checked.
#pragma once

#include "subquad/kernels/gumbel_noise/gumbel_noise.h"

namespace subquad::kernels::cuda {

void gumbel_noise(const RandomState& random, const GumbelOptions& options, Tensor& out);

}  // namespace subquad::kernels::cuda
