// Optimiser: one kernel call per step over the arenas. The step number and the rate are tensors where the parameters
// are, so that step() reads no host value, waits for no device, and can be part of a captured graph (core/graph.h).
#pragma once

#include <memory>

#include "subquad/nn/parameter_arena.h"

namespace subquad::nn {

class Optimizer {
 public:
  explicit Optimizer(ParameterArena& parameters);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Of the steps to come; finite and at least 0. Written by a kernel in the current stream, between replays when step()
  // is part of a graph: inside of a capture it would be the same rate in every replay.
  void set_rate(double rate);

  // Updates the parameters by their gradients, each times grad_scale (float64 [1], undefined = 1). Gradients stay: call
  // zero_grad() before the next backward. Where grad_scale is a NaN nothing changes and the step is not counted.
  void step(const Tensor& grad_scale = {});

  Index steps() const;  // taken so far; waits for the device

  // "step" (int64 [1]) and per parameter "m.<name>" ... as the optimiser documents; views, as in Module::state_dict.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 protected:
  virtual void update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) = 0;

  // Room for one number per parameter element, saved as "<name>.<parameter>".
  Tensor moment(const std::string& name);
  ParameterArena& parameters() { return parameters_; }

 private:
  ParameterArena& parameters_;
  Tensor step_;  // int64 [1]
  Tensor rate_;  // float64 [1]
  std::vector<std::pair<std::string, Arena>> moments_;
};

struct OptimizerConfig {
  std::string kind = "adamw";  // adamw, adam, sgd
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double momentum = 0;  // sgd
  bool nesterov = false;
};

// Error lists the legal kinds.
std::unique_ptr<Optimizer> make_optimizer(ParameterArena& parameters, const OptimizerConfig& config);
std::vector<std::string> optimizer_kinds();

}  // namespace subquad::nn
