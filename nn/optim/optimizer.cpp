#include "subquad/nn/optim/optimizer.h"

#include <cmath>

#include "subquad/kernels/increment/increment.h"
#include "subquad/nn/choice.h"
#include "subquad/nn/optim/adamw.h"
#include "subquad/nn/optim/sgd.h"

namespace subquad::nn {

namespace {

std::unique_ptr<Optimizer> make_adam(ParameterArena& parameters, const OptimizerConfig& c, bool decoupled) {
  return std::make_unique<AdamW>(parameters, kernels::AdamWOptions{.beta1 = c.beta1,
                                                                   .beta2 = c.beta2,
                                                                   .epsilon = c.epsilon,
                                                                   .weight_decay = c.weight_decay,
                                                                   .decoupled = decoupled});
}

using Maker = std::unique_ptr<Optimizer> (*)(ParameterArena&, const OptimizerConfig&);

constexpr Choices<Maker, 3> kMakers = {
    {{"adamw", [](ParameterArena& p, const OptimizerConfig& c) { return make_adam(p, c, true); }},
     {"adam", [](ParameterArena& p, const OptimizerConfig& c) { return make_adam(p, c, false); }},
     {"sgd", [](ParameterArena& p, const OptimizerConfig& c) -> std::unique_ptr<Optimizer> {
        return std::make_unique<Sgd>(p, kernels::SgdOptions{c.momentum, c.weight_decay, c.nesterov});
      }}}};

}  // namespace

Optimizer::Optimizer(ParameterArena& parameters)
    : parameters_(parameters),
      step_(zeros({1}, kInt64, parameters.values().device())),
      rate_(zeros({1}, kFloat64, parameters.values().device())) {}

void Optimizer::set_rate(double rate) {
  if (!(rate >= 0 && std::isfinite(rate)))
    throw Error(cat("set_rate: rate is ", rate, ", expected a finite number of at least 0"));
  fill(rate_, rate);
}

void Optimizer::step(const Tensor& grad_scale) {
  kernels::increment(step_, grad_scale);
  update(step_, rate_, grad_scale);
}

Index Optimizer::steps() const {
  return step_.to(kCpu).item<std::int64_t>();
}

Tensor Optimizer::moment(const std::string& name) {
  moments_.emplace_back(name, parameters_.layout().zeros_like());
  return moments_.back().second.flat();
}

StateDict Optimizer::state_dict() const {
  StateDict state = {{"step", step_}};
  for (const auto& [name, arena] : moments_)
    for (std::size_t i = 0; i < arena.count(); ++i) state.emplace(name + "." + parameters_.names()[i], arena.part(i));
  return state;
}

void Optimizer::load_state_dict(const StateDict& state) {
  load_tensors("optimizer state", state_dict(), state);
}

std::unique_ptr<Optimizer> make_optimizer(ParameterArena& parameters, const OptimizerConfig& config) {
  return choose("make_optimizer: kind", kMakers, config.kind)(parameters, config);
}

std::vector<std::string> optimizer_kinds() {
  std::vector<std::string> kinds;
  for (const auto& [name, maker] : kMakers) kinds.emplace_back(name);
  return kinds;
}

}  // namespace subquad::nn
