#include "subquad/nn/optim/clip.h"

#include "subquad/kernels/grad_norm/grad_norm.h"

namespace subquad::nn {

ClippedNorm clip_global_norm(const ParameterArena& parameters, double max_norm) {
  const Tensor norm = kernels::grad_norm(parameters.gradients());
  return {norm, kernels::clip_scale(norm, max_norm)};
}

}  // namespace subquad::nn
