// LayerNorm over the last axis, with a learned scale and shift: Ba, Kiros and Hinton 2016.
#pragma once

#include "subquad/autograd/ops/layer_norm.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

class LayerNorm : public Module {
 public:
  LayerNorm(const Place& place, Index width, double epsilon = 1e-5);

  Variable operator()(const Variable& x) const;  // [..., width]

  // For a residual connection around what the norm goes into: x itself and norm(x), one pass in backward.
  LayerNormBranch branch(const Variable& x) const;

  // One pass for a residual connection: sum = x + residual, out = norm(sum).
  AddLayerNorm add(const Variable& x, const Variable& residual) const;

 private:
  double epsilon_;
  Variable gamma_;  // [width], starts at 1
  Variable beta_;   // [width], starts at 0
};

}  // namespace subquad::nn
