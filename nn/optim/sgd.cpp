#include "subquad/nn/optim/sgd.h"

namespace subquad::nn {

Sgd::Sgd(ParameterArena& parameters, const kernels::SgdOptions& options) : Optimizer(parameters), options_(options) {
  if (options.momentum != 0) velocity_ = moment("velocity");
}

void Sgd::update(const Tensor&, const Tensor& rate, const Tensor& grad_scale) {
  Tensor values = parameters().values();
  kernels::sgd(values, parameters().gradients(), velocity_, rate, grad_scale, options_);
}

}  // namespace subquad::nn
