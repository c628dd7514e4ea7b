// Stochastic gradient descent with momentum (Sutskever et al. 2013 for Nesterov's). Equation: kernels/sgd/sgd.h.
#pragma once

#include "subquad/nn/optim/optimizer.h"

namespace subquad::nn {

struct SgdOptions {
  double momentum = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

class Sgd : public Optimizer {
 public:
  Sgd(ParameterArena& parameters, const SgdOptions& options);

 private:
  void update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) override;

  SgdOptions options_;
  Tensor velocity_;  // saved as "velocity.<parameter>"
};

}  // namespace subquad::nn
