// The CUDA body of kernels/dropout; probability > 0.
#pragma once

#include "subquad/core/rng.h"

namespace subquad::kernels::cuda {

void dropout(const Tensor& x, double probability, const RandomState& random, Tensor& out);

}  // namespace subquad::kernels::cuda
