#include "subquad/nn/factor_mlp.h"

#include <cmath>

#include "subquad/autograd/ops/factor_mlp.h"
#include "subquad/nn/at_least.h"

namespace subquad::nn {

namespace {

Init fan_in_init(Index inputs, double scale) {
  const double bound = scale / std::sqrt(static_cast<double>(inputs));
  return uniform_init(-bound, bound);
}

const FactorMlpConfig& checked(const FactorMlpConfig& config) {
  check_at_least("factor_mlp", "factors", config.factors, 1);
  check_at_least("factor_mlp", "inputs", config.inputs, 1);
  check_at_least("factor_mlp", "hidden", config.hidden, 1);
  check_at_least("factor_mlp", "outputs", config.outputs, 1);
  return config;
}

}  // namespace

FactorMlp::FactorMlp(const Place& place, const FactorMlpConfig& c)
    : Module(place),
      first_(parameter("first.weight", {checked(c).factors, c.inputs, c.hidden}, fan_in_init(c.inputs, 1))),
      first_bias_(parameter("first.bias", {c.factors, c.hidden}, fan_in_init(c.inputs, 1))),
      second_(parameter("second.weight", {c.factors, c.hidden, c.outputs}, fan_in_init(c.hidden, c.second_scale))),
      second_bias_(parameter("second.bias", {c.factors, c.outputs}, fan_in_init(c.hidden, c.second_scale))) {}

Variable FactorMlp::operator()(const Variable& x, const Mask& mask) const {
  const ModuleScope scope = enter();
  return factor_mlp(x, first_, first_bias_, second_, second_bias_, mask);
}

}  // namespace subquad::nn
