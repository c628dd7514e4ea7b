#include "subquad/nn/attention/fsat.h"

#include <algorithm>
#include <cmath>

#include "subquad/autograd/ops/compact.h"
#include "subquad/autograd/ops/hidden_cross.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/score_heads.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/gumbel_noise/gumbel_noise.h"
#include "subquad/kernels/top_k/top_k.h"

namespace subquad::nn {

namespace {

void require(bool legal, const char* option, const auto& value, const auto&... expected) {
  if (!legal) throw Error(cat("fsat: ", option, " is ", value, ", expected ", expected...));
}

const AttentionConfig& legal(const AttentionConfig& config) {
  const FsatConfig& f = config.fsat;
  require(!config.causal, "causal", "true", "false: the pooled cross sees the whole sequence");
  require(f.cross >= 1, "cross", f.cross, "at least 1 channel per head");
  require(f.hidden >= 1, "hidden", f.hidden, "at least 1");
  require(f.lags >= 0, "lags", f.lags, "0 or more");
  require(f.columns >= 0, "columns", f.columns, "0 or more");
  require(f.lags > 0 || f.columns > 0, "lags + columns", 0, "at least 1: a query must see something");
  require(f.window >= -1, "window", f.window, "-1 (no lag is forced) or more");
  require(f.lags > 0 || f.window == -1, "window", f.window, "-1: without lags there is nothing to force");
  require(f.lags == 0 || f.window <= (f.lags - 1) / 2, "window", f.window, "at most ", (f.lags - 1) / 2,
          ": it forces 2 window + 1 of the ", f.lags, " lags");
  require(f.gamma >= 0 && std::isfinite(f.gamma), "gamma", f.gamma, "a finite number from 0 on");
  require(f.attention_dropout >= 0 && f.attention_dropout < 1, "attention_dropout", f.attention_dropout, "0 <= p < 1");
  require(f.gamma_steps >= 0, "gamma_steps", f.gamma_steps, "0 (gamma stays) or more");
  require(f.gamma > 0 || f.gamma_steps == 0, "gamma_steps", f.gamma_steps, "0: gamma is 0, and has nowhere to fall to");
  return config;
}

double deviation_of(Index inputs) {
  return 1 / std::sqrt(static_cast<double>(inputs));
}

// Wa and a tenth of new noise: tied maps would start as an autocorrelation, whose lags t and n - t have equal scores.
Init near(const Variable& other, Index inputs) {
  return [=](Tensor& out, std::uint64_t seed, std::uint64_t stream) {
    fill_normal(out, 0, 0.1 * deviation_of(inputs), seed, stream);
    kernels::add_into(out, other.value().to(kCpu));
  };
}

}  // namespace

ScoreHead::ScoreHead(const Place& place, Index heads, Index channels, Index hidden)
    : Module(place),
      u_(parameter("u", {heads, channels}, uniform_init(deviation_of(channels), deviation_of(channels)))),
      w1_(parameter("w1", {heads, channels, hidden}, normal_init(deviation_of(channels)))),
      b1_(parameter("b1", {heads, hidden}, zeros_init())),
      w2_(parameter("w2", {heads, hidden}, zeros_init())) {}

std::array<Variable, 2> ScoreHead::both(const ScoreHead& first, const Variable& first_feature, const ScoreHead& second,
                                        const Variable& second_feature) {
  return score_heads_pair({first_feature, first.u_, first.w1_, first.b1_, first.w2_},
                          {second_feature, second.u_, second.w1_, second.b1_, second.w2_});
}

FsatAttention::FsatAttention(const Place& place, const AttentionConfig& config)
    : QkvAttention(place, legal(config)),
      options_(config.fsat),
      cross_a_(child("cross_a"), width(), heads() * options_.cross,
               {.bias = config.bias, .weight = normal_init(deviation_of(width()))}),
      cross_b_(child("cross_b"), width(), heads() * options_.cross,
               {.bias = false, .weight = near(cross_a_.weight(), width())}),
      lag_head_(child("lag_head"), heads(), options_.cross, options_.hidden),
      col_head_(child("col_head"), heads(), options_.cross, options_.hidden) {}

RandomState FsatAttention::stream(std::string_view use, std::string_view option, double value,
                                  const RandomState& rng) const {
  if (!rng.defined())
    throw Error(cat("fsat: '", path(), "' with ", option, " = ", value,
                    " is training and needs a RandomState, which is undefined"));
  return rng.with_stream(stream_id(cat(path(), ".", use)));
}

Tensor FsatAttention::noise(std::string_view choice, const Variable& score, const RandomState& rng) const {
  return kernels::gumbel_noise(score.shape(), score.dtype(), stream(choice, "gamma", options_.gamma, rng),
                               {.scale = options_.gamma, .fade_steps = options_.gamma_steps});
}

// What is chosen by: the scores, or with noise on them.
Tensor FsatAttention::keys(std::string_view choice, const Variable& score, const RandomState& rng, bool draws) const {
  if (!draws || options_.gamma == 0) return score.value();
  return kernels::add(score.value(), noise(choice, score, rng));
}

FsatAttention::Cross FsatAttention::cross(const AttentionInput& in) const {
  const Variable x = compact(options_.truncate ? in.data.detach() : in.data, in.mask);  // [B, N, D]
  const std::vector<Variable> maps = linear_group(x, {cross_a_.weight(), cross_b_.weight()}, {{}, {}});
  const auto [lag, col] = hidden_cross(maps[0], maps[1], kernels::compact(in.mask), cross_a_.bias());
  return {.lag = lag, .col = col};
}

FsatAttention::Decision FsatAttention::decide(const AttentionInput& in, bool draws) const {
  const Mask mask = kernels::compact(in.mask);
  const auto [lag, col] = cross(in);                                                    // [B, N, H R]
  const auto [lag_score, col_score] = ScoreHead::both(lag_head_, lag, col_head_, col);  // [B, H, N]
  const LagColumnScores scores{.lag = lag_score, .col = col_score};
  const Tensor lag_keys = keys("lags", scores.lag, in.rng, draws);
  const Tensor col_keys = keys("columns", scores.col, in.rng, draws);
  const Index positions = in.data.dim(1),
              lags = std::min(options_.lags, positions);         // lists have no room for more than N
  const Index window = lags < positions ? options_.window : -1;  // all are taken: none need be forced
  const auto [chosen_lags, chosen_columns] =
      kernels::choose_top_k_pair({lag_keys, lags, window}, {col_keys, std::min(options_.columns, positions), -1}, mask);
  return {.scores = scores, .chosen = {.lags = chosen_lags, .columns = chosen_columns}};
}

Variable FsatAttention::mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const {
  const Mask mask = kernels::compact(in.mask);
  const auto front = [&](const Variable& x) { return compact(x, in.mask, 2); };  // [B, H, N, E]
  const Decision decision = decide(in, draws);
  const ScoreMode mode = options_.mode == FsatMode::bias ? ScoreMode::bias : ScoreMode::straight_through;
  const double dropout = draws ? options_.attention_dropout : 0;
  LagColumnOptions drop;
  if (dropout > 0) drop = {.dropout = dropout, .random = stream("probabilities", "attention_dropout", dropout, in.rng)};
  const Variable mixed = lag_column_attention(front(heads.q), front(heads.k), front(values), decision.chosen,
                                              decision.scores, mode, mask, drop)
                             .out;
  return spread(mixed, in.mask, 2);
}

}  // namespace subquad::nn
