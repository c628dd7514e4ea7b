#include "subquad/nn/linear.h"

#include "subquad/autograd/ops/linear.h"

namespace subquad::nn {

Linear::Linear(const Place& place, Index inputs, Index outputs, const LinearOptions& options)
    : Module(place), weight_(parameter("weight", {inputs, outputs}, options.weight)) {
  if (options.bias) bias_ = parameter("bias", {outputs}, options.first_bias);
}

Variable Linear::operator()(const Variable& x) const {
  const ModuleScope scope = enter();
  return linear(x, weight_, bias_);
}

Variable Linear::operator()(const Variable& x, const DenseOptions& options, const Variable& residual) const {
  const ModuleScope scope = enter();
  return dense(x, weight_, bias_, options, residual);
}

}  // namespace subquad::nn
