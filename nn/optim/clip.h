// Clipping by the global norm, without a host value in between: Pascanu et al. 2013, algorithm 1.
#pragma once

#include "subquad/nn/parameter_arena.h"

namespace subquad::nn {

struct ClippedNorm {
  Tensor norm;   // float64 [1]: of all gradients together, before clipping
  Tensor scale;  // float64 [1]: min(1, max_norm / norm), what Optimizer::step takes
};

ClippedNorm clip_global_norm(const ParameterArena& parameters, double max_norm);

}  // namespace subquad::nn
