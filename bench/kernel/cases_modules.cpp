// The attentions as nn/attention makes them, projections included, on x [batch, n, d].
#include <memory>

#include "subquad/bench/kernel/mechanisms.h"
#include "subquad/nn/parameter_arena.h"

namespace subquad::bench {

namespace {

// Its parameters lie as in a training, where products of several weights are one.
struct Module {
  Module(const nn::Place& place, const nn::AttentionConfig& config)
      : attention(nn::make_attention(place, config)), arena(*attention) {}

  std::unique_ptr<nn::Attention> attention;
  nn::ParameterArena arena;
};

Work module_work(const std::string& kind, const Settings& s, const nn::Place& place) {
  const nn::AttentionConfig config = mechanism_config(kind, s);
  const auto module = std::make_shared<Module>(place, config);
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("n"), config.width});
  std::vector<Part> parts = attention_parts(config, x.dim(0), x.dim(1), place.dtype());
  Work work = {.inputs = {{"x", x}},
               .forward = [=]() -> std::vector<Variable> {
                 return {module->attention->forward({.values = x, .data = x, .mask = {}, .rng = {}})};
               },
               .forward_count = sum_of(parts, &Part::forward),
               .backward_count = sum_of(parts, &Part::backward),
               .parts = std::move(parts)};
  for (const Variable& parameter : module->attention->parameters()) work.inputs[parameter.name()] = parameter;
  return work;
}

}  // namespace

std::vector<Case> module_cases() {
  std::vector<Case> cases;
  for (const std::string& kind : mechanism_kinds())
    cases.push_back({kind, mechanism_about(kind), mechanism_settings(kind),
                     [kind](const Settings& s, const nn::Place& place) { return module_work(kind, s, place); },
                     kind == "fsat"});
  return cases;
}

}  // namespace subquad::bench
