// FeedForward: out = dropout(activation-and-dropout(x W1 + b1) W2 + b2) + residual, position by position.
#pragma once

#include <string_view>

#include "subquad/nn/dropout.h"
#include "subquad/nn/linear.h"

namespace subquad::nn {

kernels::Activation parse_activation(std::string_view name);  // none, relu, gelu; Error lists them
std::string_view activation_name(kernels::Activation activation);

struct FeedForwardConfig {
  Index width = 0;
  Index hidden = 0;
  kernels::Activation activation = kernels::Activation::gelu;
  double dropout = 0;  // after the activation and at the end
};

class FeedForward : public Module {
 public:
  FeedForward(const Place& place, const FeedForwardConfig& config);

  // [B, N, width] -> [B, N, width]; residual [B, N, width] or undefined
  Variable operator()(const Variable& x, const RandomState& rng, const Variable& residual = {}) const;

 private:
  kernels::Activation activation_;
  Linear first_;
  Dropout hidden_dropout_;
  Linear second_;
  Dropout dropout_;
};

}  // namespace subquad::nn
