// Layers as plain loops in double, for judging the modules: they take tensors of any dtype on any device, and compute
// and return float64 on the CPU.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"
#include "subquad/nn/state_dict.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test::slow {

// Parameters of one module, addressed by short names: Weights("layers.0.attention.", state)("query.weight").
class Weights {
 public:
  Weights(nn::StateDict state, std::string prefix = "") : state_(std::move(state)), prefix_(std::move(prefix)) {}
  Weights operator/(const std::string& name) const { return {state_, prefix_ + name + "."}; }
  bool has(const std::string& name) const { return state_.contains(prefix_ + name); }
  Tensor operator()(const std::string& name) const { return doubles(state_.at(prefix_ + name)); }

 private:
  nn::StateDict state_;
  std::string prefix_;
};

bool is_real(const Mask& mask, Index b, Index position);

Tensor add(const Tensor& a, const Tensor& b);                          // equal shapes
Tensor linear(const Tensor& x, const Weights& w);                      // "weight", "bias" if there is one
Tensor layer_norm(const Tensor& x, const Weights& w, double epsilon);  // "gamma", "beta"
Tensor relu(const Tensor& x);
Tensor gelu(const Tensor& x);

// A [B, H, N, N], rows of padded queries 0, and the whole module; x [B, N, D].
Tensor attention_matrix(const Tensor& x, const Weights& w, Index heads, const Mask& mask, bool causal);
Tensor attention(const Tensor& x, const Weights& w, Index heads, const Mask& mask, bool causal);

Tensor feed_forward(const Tensor& x, const Weights& w);  // with GELU

}  // namespace subquad::test::slow
