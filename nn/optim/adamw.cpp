#include "subquad/nn/optim/adamw.h"

namespace subquad::nn {

AdamW::AdamW(ParameterArena& parameters, const kernels::AdamWOptions& options)
    : Optimizer(parameters), options_(options), m_(moment("m")), v_(moment("v")) {}

void AdamW::update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) {
  Tensor values = parameters().values();
  kernels::adamw(values, parameters().gradients(), m_, v_, step, rate, grad_scale, options_);
}

}  // namespace subquad::nn
