#pragma once

#include "subquad/core/rng.h"

namespace subquad::kernels::cpu {

void dropout(const Tensor& x, double probability, const RandomState& random, Tensor& out);

}  // namespace subquad::kernels::cpu
