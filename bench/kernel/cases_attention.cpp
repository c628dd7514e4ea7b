// Fused attention kernels on q, k, v [batch, heads, n, d / heads].
#include <numeric>

#include "subquad/autograd/ops/attention.h"
#include "subquad/autograd/ops/gathered_attention.h"
#include "subquad/autograd/ops/lag_column_attention.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/top_k/top_k.h"

namespace subquad::bench {

namespace {

Work attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const AttentionOptions options = {.causal = s.flag("causal")};
  const auto n = static_cast<double>(q.dim(2));
  const double pairs = static_cast<double>(q.dim(0) * q.dim(1)) * (options.causal ? n * (n + 1) / 2 : n * n);
  const double flops = 4 * pairs * static_cast<double>(q.dim(3));
  const double bytes = bytes_of({q.shape()}, place.dtype());
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}},
          .forward = [=]() -> std::vector<Variable> { return {attention(q, k, v, {}, options).out}; },
          .forward_count = {flops, 4 * bytes},
          .backward_count = {2.5 * flops, 8 * bytes}};
}

// How far behind the query, going round, its keys may lie: no more than --within positions, 0 = anywhere. Same work,
// but rows that are near each other in memory.
Index within(const Settings& s) {
  const Index n = s.size("n"), most = s.size("within");
  return most > 0 ? std::min(most, n) : n;
}

// Keys [B, H, N, slots] of each query, drawn at random.
Tensor random_keys(const Shape& shape, Index reach, std::uint64_t seed) {
  Tensor index = empty(shape, kInt64, kCpu);
  Rng rng(seed, stream_id("index"));
  Index slot = 0;
  for (std::int64_t& key : index.span<std::int64_t>())
    key = (slot++ / shape[3] % shape[2] + rng.below(reach)) % shape[2];
  return index;
}

Work gathered_attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const Index slots = std::min(s.size("keys"), q.dim(2));
  const Tensor index = random_keys({q.dim(0), q.dim(1), q.dim(2), slots}, within(s), place.seed()).to(place.device());
  const double pairs = static_cast<double>(index.size()), width = static_cast<double>(q.dim(3));
  const double bytes = bytes_of({q.shape()}, place.dtype());
  const double rows = 2 * pairs * width * static_cast<double>(dtype_bytes(place.dtype()));  // of k and v; q and dout
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}, {"index", Variable(index)}},
          .forward = [=]() -> std::vector<Variable> { return {gathered_attention(q, k, v, index).out}; },
          .forward_count = {4 * pairs * width, 4 * bytes + 8 * pairs, rows},
          .backward_count = {10 * pairs * width, 8 * bytes + 16 * pairs, 2 * rows}};  // the index, also sorted by keys
}

// Of training step 1 on the first samples of a data set.
RandomState first_step(Index samples, std::uint64_t seed) {
  Tensor numbers = empty({samples}, kInt64, kCpu);
  std::iota(numbers.data<Index>(), numbers.data<Index>() + samples, Index(0));
  return {.seed = seed, .stream = stream_id("dropout"), .step = full({1}, 1, kInt64, kCpu), .samples = numbers};
}

// The largest of random scores are chosen, as in FSAT.
Work lag_column_attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const Shape scores_shape = {q.dim(0), q.dim(1), q.dim(2)};
  const Variable lag = normal_input(place, "lag_score", scores_shape),
                 col = normal_input(place, "col_score", scores_shape);
  const Tensor reached = lag.value().slice(2, 0, within(s)).contiguous();
  const LagColumns chosen = {kernels::choose_top_k(reached, s.size("lags")),
                             kernels::choose_top_k(col.value(), s.size("columns"))};
  const LagColumnOptions options = {.dropout = s.number("dropout"), .random = first_step(q.dim(0), place.seed())};
  const auto rows = static_cast<double>(scores_shape.size()), width = static_cast<double>(q.dim(3));
  const auto lags = static_cast<double>(std::min(s.size("lags"), within(s)));
  const auto columns = static_cast<double>(std::min(s.size("columns"), q.dim(2)));
  const double bytes = bytes_of({q.shape()}, place.dtype()), scores = bytes_of({scores_shape}, place.dtype());
  // A column that one of a query's lags meets is no second key.
  const double keys = rows * (lags + columns) - static_cast<double>(q.dim(0) * q.dim(1)) * lags * columns;
  const double along = 2 * lags * bytes;  // rows of k and v along the lags; in backward those of q and dout, too
  return {.inputs = {{"q", q},
                     {"k", k},
                     {"v", v},
                     {"lag_score", lag},
                     {"col_score", col},
                     {"lags", Variable(chosen.lags)},
                     {"columns", Variable(chosen.columns)}},
          .forward = [=]() -> std::vector<Variable> {
            return {lag_column_attention(q, k, v, chosen, {lag, col}, ScoreMode::straight_through, {}, options).out};
          },
          .forward_count = {4 * keys * width, 4 * bytes, along},
          .backward_count = {10 * keys * width, 8 * bytes + 2 * scores, 2 * along}};
}

std::vector<Setting> with_heads(std::vector<Setting> more) {
  std::vector<Setting> settings = {{"n", "4096", "positions"},
                                   {"d", "64", "features of all heads"},
                                   {"batch", "4", "samples"},
                                   {"heads", "2", "heads"}};
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

}  // namespace

std::vector<Case> attention_cases() {
  const Setting reach = {"within", "0", "keys (of lags) lie no further behind the query; 0 = anywhere"};
  return {{.op = "attention",
           .about = "exact softmax attention, logits never stored",
           .settings = with_heads({{"causal", "false", "no key behind the query"}}),
           .make = attention_work},
          {"gathered_attention", "each query to keys of its own, drawn at random",
           with_heads({{"keys", "32", "of each query; at most n"}, reach}), gathered_attention_work},
          {"lag_column_attention", "each query along chosen diagonals and columns, scores with gradients",
           with_heads({{"lags", "64", "chosen; at most n"},
                       {"columns", "32", "chosen; at most n"},
                       reach,
                       {"dropout", "0", "probability that a weight is dropped"}}),
           lag_column_attention_work}};
}

}  // namespace subquad::bench
