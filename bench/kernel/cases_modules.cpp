// The attentions as nn/attention makes them, projections included, on x [batch, n, d].
#include "subquad/bench/kernel/case.h"
#include "subquad/nn/attention/attention.h"

namespace subquad::bench {

namespace {

using nn::AttentionConfig;

// What a mechanism does between its projections, for one sample and one head; E features per head.
struct Mechanism {
  std::string kind;
  std::string about;
  std::vector<Setting> settings;
  void (*choose)(const Settings&, AttentionConfig&);  // fills the mechanism's part of the config
  Count (*count)(const AttentionConfig&, Index n);    // forward: flops, and bytes kept for backward
};

AttentionConfig config_of(const Mechanism& mechanism, const Settings& s) {
  AttentionConfig config;
  config.kind = mechanism.kind;
  config.width = s.size("d");
  config.heads = s.size("heads");
  config.max_length = s.size("n");
  mechanism.choose(s, config);
  return config;
}

double head_width(const AttentionConfig& config) {
  return static_cast<double>(config.width / config.heads);
}

// --- softmax: 4 N^2 E, and nothing but the log-sum-exp is kept
void choose_softmax(const Settings& s, AttentionConfig& config) {
  config.causal = s.flag("causal");
}

Count count_softmax(const AttentionConfig& config, Index n) {
  const auto positions = static_cast<double>(n);
  return {(config.causal ? 2 : 4) * positions * positions * head_width(config), 4 * positions};
}

const std::vector<Mechanism>& mechanisms() {
  static const std::vector<Mechanism> all = {
      {"softmax", "exact attention", {{"causal", "false", "no key behind the query"}}, choose_softmax, count_softmax},
  };
  return all;
}

Work module_work(const Mechanism& mechanism, const Settings& s, const nn::Place& place) {
  const AttentionConfig config = config_of(mechanism, s);
  const std::shared_ptr<nn::Attention> module = nn::make_attention(place, config);
  const Index batch = s.size("batch"), n = s.size("n");
  const Variable x = normal_input(place, "x", {batch, n, config.width});
  const auto samples = static_cast<double>(batch), positions = static_cast<double>(n);
  const auto width = static_cast<double>(config.width);
  const Count head = mechanism.count(config, n);
  const double heads = samples * static_cast<double>(config.heads);
  const double flops = heads * head.flops + 8 * samples * positions * width * width;
  const double bytes = heads * head.bytes + 6 * bytes_of({x.shape()}, place.dtype());  // x, q, k, v, heads, out
  Work work = {.inputs = {{"x", x}},
               .forward = [=]() -> std::vector<Variable> {
                 return {module->forward({.values = x, .data = x, .mask = {}, .rng = {}})};
               },
               .forward_count = {flops, bytes},
               .backward_count = {2 * flops, 2 * bytes}};
  for (const Variable& parameter : module->parameters()) work.inputs[parameter.name()] = parameter;
  return work;
}

}  // namespace

std::vector<Case> module_cases() {
  std::vector<Case> cases;
  for (const Mechanism& mechanism : mechanisms()) {
    std::vector<Setting> settings = {{"n", "4096", "positions"},
                                     {"d", "64", "features of all heads"},
                                     {"batch", "4", "samples"},
                                     {"heads", "2", "heads"}};
    settings.insert(settings.end(), mechanism.settings.begin(), mechanism.settings.end());
    cases.push_back(
        {mechanism.kind, mechanism.about + " between its projections", settings,
         [&mechanism](const Settings& s, const nn::Place& place) { return module_work(mechanism, s, place); }});
  }
  return cases;
}

}  // namespace subquad::bench
