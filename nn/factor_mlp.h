// M two-layer perceptrons that read the same rows, position by position: out_m = gelu(x A_m + a_m) C_m + c_m.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

struct FactorMlpConfig {
  Index factors = 1;  // M
  Index inputs = 0;
  Index hidden = 0;
  Index outputs = 0;
  double second_scale = 1;  // of the second layer's first values
};

// Parameters "first.weight" [M, I, H], "first.bias" [M, H], "second.weight" [M, H, O], "second.bias" [M, O]; all start
// uniform in +-1/sqrt(inputs of the layer), as the linear layers of the paper's code do.
class FactorMlp : public Module {
 public:
  FactorMlp(const Place& place, const FactorMlpConfig& config);

  // [B, N, I] -> [M, B, N, O], 0 at padded positions; nothing of them is read.
  Variable operator()(const Variable& x, const Mask& mask) const;

 private:
  Variable first_;
  Variable first_bias_;
  Variable second_;
  Variable second_bias_;
};

}  // namespace subquad::nn
