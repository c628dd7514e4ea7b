#include "subquad/nn/layer_norm.h"

namespace subquad::nn {

LayerNorm::LayerNorm(const Place& place, Index width, double epsilon)
    : Module(place),
      epsilon_(epsilon),
      gamma_(parameter("gamma", {width}, ones_init())),
      beta_(parameter("beta", {width}, zeros_init())) {}

Variable LayerNorm::operator()(const Variable& x) const {
  const ModuleScope scope = enter();
  return layer_norm(x, gamma_, beta_, epsilon_);
}

LayerNormBranch LayerNorm::branch(const Variable& x) const {
  const ModuleScope scope = enter();
  return layer_norm_branch(x, gamma_, beta_, epsilon_);
}

AddLayerNorm LayerNorm::add(const Variable& x, const Variable& residual) const {
  const ModuleScope scope = enter();
  return add_layer_norm(x, residual, gamma_, beta_, epsilon_);
}

}  // namespace subquad::nn
