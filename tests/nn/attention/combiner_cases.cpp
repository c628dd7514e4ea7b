#include "subquad/tests/nn/attention/combiner_cases.h"

namespace subquad::test::combiner {

using nn::CombinerPattern;
using nn::CombinerPool;
using nn::CombinerSummary;

bool Options::projects() const {
  return config.pattern == CombinerPattern::rowmajor && config.summary >= CombinerSummary::proj;
}

std::ostream& operator<<(std::ostream& out, const Options& o) {
  return out << nn::combiner_pattern_name(o.config.pattern) << " segment " << o.config.segment << " causal " << o.causal
             << " pool " << nn::combiner_pool_name(o.config.pool) << " summary "
             << nn::combiner_summary_name(o.config.summary) << " own_span " << o.config.own_span;
}

std::vector<Options> all_options(Index segment) {
  std::vector<Options> all;
  for (const bool causal : {false, true}) {
    for (int pool = 0; pool < 9; ++pool)
      all.push_back({{.segment = segment, .pool = static_cast<CombinerPool>(pool)}, causal});
    for (const CombinerPattern pattern :
         {CombinerPattern::logsparse, CombinerPattern::vertical, CombinerPattern::horizontal, CombinerPattern::mixture,
          CombinerPattern::average})
      all.push_back({{.pattern = pattern, .segment = pattern == CombinerPattern::logsparse ? 0 : segment}, causal});
    for (int summary = 0; summary < 4; ++summary)
      all.push_back(
          {{.pattern = CombinerPattern::rowmajor, .segment = segment, .summary = static_cast<CombinerSummary>(summary)},
           causal});
  }
  all.push_back({{.segment = segment, .own_span = true}, false});
  all.push_back({{.pattern = CombinerPattern::rowmajor, .segment = segment, .own_span = true}, false});
  return all;
}

std::vector<Options> patterns(Index segment) {
  std::vector<Options> all;
  for (const Options& o : all_options(segment))
    if (o.config.pool == CombinerPool::max && o.config.summary == CombinerSummary::proj) all.push_back(o);
  return all;
}

Mask scattered_mask(Index batch, Index n) {
  Tensor real = zeros({batch, n}, kBool, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < n; ++i) real.data<bool>()[b * n + i] = (i + b) % 3 != 0 && i / 5 % 4 != b;
  return Mask::from_bool(real);
}

std::vector<Mask> masks(Index n) {
  return {Mask(), prefix_mask({n, 2 * n / 3, 0}, n), scattered_mask(3, n)};
}

Variable Inputs::run(const Options& o) const {
  return nn::combiner_attention(q, k, v, mask.to(device()), o.config, o.causal, learned).out;
}

std::vector<Variable> Inputs::leaves(const Options& o) const {
  std::vector<Variable> all = {q, k, v};
  if (o.projects()) all.insert(all.end(), {learned.x, learned.w_o, learned.w_k, learned.gamma, learned.beta});
  if (o.config.pool >= CombinerPool::deepset_max) all.insert(all.end(), {learned.pool_q, learned.pool_k});
  return all;
}

Inputs Inputs::moved_to(const Options& o, const std::vector<Variable>& leaves) const {
  Inputs in = *this;
  in.q = leaves[0], in.k = leaves[1], in.v = leaves[2];
  if (o.projects())
    in.learned = {.x = leaves[3], .w_o = leaves[4], .w_k = leaves[5], .gamma = leaves[6], .beta = leaves[7]};
  if (o.config.pool >= CombinerPool::deepset_max) in.learned = {.pool_q = leaves[3], .pool_k = leaves[4]};
  return in;
}

Inputs make_inputs(Index n, const Mask& mask, DType dtype) {
  const Index width = 4, value_width = 4;
  const auto draw = [&](const Shape& shape, std::uint64_t seed) { return Variable(normal(shape, dtype, seed), true); };
  Inputs in{draw({3, 2, n, width}, 1), draw({3, 2, n, width}, 2), draw({3, 2, n, value_width}, 3), {}, mask};
  in.learned.pool_q = draw({width, width}, 4);
  in.learned.pool_k = draw({width, width}, 5);
  in.learned.x = draw({3, n, 6}, 6);
  in.learned.w_o = draw({2 * value_width, 6}, 7);
  in.learned.w_k = draw({6, 2 * width}, 8);
  in.learned.gamma = draw({6}, 9);
  in.learned.beta = draw({6}, 10);
  return in;
}

std::unique_ptr<nn::Attention> make_module(const Options& o, DType dtype) {
  auto made = nn::make_attention(
      place(dtype, 4), {.kind = "combiner", .width = 8, .heads = 2, .causal = o.causal, .combiner = o.config});
  randomise(*made);
  return made;
}

}  // namespace subquad::test::combiner
