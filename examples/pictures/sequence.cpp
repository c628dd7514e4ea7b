#include "subquad/examples/pictures/sequence.h"

#include <cmath>
#include <numbers>

#include "subquad/core/rng.h"

namespace subquad::pictures {

namespace {

constexpr Index kPeriod = 8;
constexpr Index kSalient[] = {5, 18};

double turns(Index i, Index period) {
  return 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(period);
}

}  // namespace

Tensor sequence() {
  Tensor x = empty({1, kTokens, kFeatures}, kFloat64, kCpu);
  fill_normal(x, 0, 0.2, /*seed=*/1, stream_id("sequence"));
  const auto rows = x.view<double, 3>();
  for (Index i = 0; i < kTokens; ++i) {
    rows(0, i, 0) += 1.5 * std::cos(turns(i, kTokens));  // neighbours are alike
    rows(0, i, 1) += 1.5 * std::sin(turns(i, kTokens));
    rows(0, i, 2) += 2.2 * std::cos(turns(i, kPeriod));
    rows(0, i, 3) += 2.2 * std::sin(turns(i, kPeriod));
    rows(0, i, 4) += 3;  // what all have in common, and two have more of
  }
  for (const Index i : kSalient) rows(0, i, 4) += 2;
  return x;
}

std::unique_ptr<nn::Attention> small_attention(nn::AttentionConfig config) {
  config.width = kFeatures;
  config.max_length = kTokens;
  auto made = nn::make_attention(nn::Place(1, kFloat64, kCpu), config);
  made->eval();
  nn::StateDict state = made->state_dict();
  for (const char* name : {"key.weight", "cross_a.weight", "cross_b.weight"})
    if (state.contains(name)) copy(state.at("query.weight"), state.at(name));
  return made;
}

nn::AttentionInput input() {
  const Variable x(sequence());
  return {x, x, {}, {}};
}

Tensor mixing_matrix(const nn::AttentionConfig& config) {
  return small_attention(config)->mixing_matrix(input()).select(0, 0).select(0, 0);
}

Tensor softmax_matrix() {
  return mixing_matrix({});
}

QueriesAndKeys queries_and_keys() {
  const NoGrad no_grad;
  const nn::Heads heads = small_attention({})->project(input());
  return {heads.q.value(), heads.k.value(), heads.v.value()};
}

}  // namespace subquad::pictures
