// Stochastic gradient descent with momentum (Sutskever et al. 2013 for Nesterov's). Equation: kernels/sgd/sgd.h.
#pragma once

#include "subquad/kernels/sgd/sgd.h"
#include "subquad/nn/optim/optimizer.h"

namespace subquad::nn {

class Sgd : public Optimizer {
 public:
  Sgd(ParameterArena& parameters, const kernels::SgdOptions& options);

 private:
  void update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) override;

  kernels::SgdOptions options_;
  Tensor velocity_;  // saved as "velocity.<parameter>"; without momentum there is none
};

}  // namespace subquad::nn
