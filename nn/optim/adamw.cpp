#include "subquad/nn/optim/adamw.h"

namespace subquad::nn {

AdamW::AdamW(ParameterArena& parameters, const kernels::AdamWOptions& options)
    : Optimizer(parameters),
      options_(options),
      beta1_(full({1}, options.beta1, kFloat64, parameters.values().device())),
      m_(moment("m")),
      v_(moment("v")) {}

void AdamW::set_beta1(double beta1) {
  if (!(beta1 >= 0 && beta1 < 1)) throw Error(cat("set_beta1: beta1 is ", beta1, ", expected in [0, 1)"));
  fill(beta1_, beta1);
}

void AdamW::update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) {
  Tensor values = parameters().values();
  kernels::adamw(values, parameters().gradients(), m_, v_, step, rate, grad_scale, options_, beta1_);
}

}  // namespace subquad::nn
