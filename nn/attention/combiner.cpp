#include "subquad/nn/attention/combiner.h"

#include <cmath>

#include "subquad/autograd/check.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/grid_attention.h"
#include "subquad/autograd/ops/layer_norm.h"
#include "subquad/autograd/ops/level_attention.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/autograd/ops/summary_attention.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/nn/real_rows.h"

namespace subquad::nn {

namespace {

bool is_deepset(CombinerPool pool) {
  return pool == CombinerPool::deepset_max || pool == CombinerPool::deepset_mean || pool == CombinerPool::deepset_sum;
}

bool is_relu(CombinerPool pool) {
  return pool == CombinerPool::relu_max || pool == CombinerPool::relu_mean || pool == CombinerPool::relu_sum;
}

SpanPool reduction(CombinerPool pool) {
  switch (pool) {
    case CombinerPool::max:
    case CombinerPool::relu_max:
    case CombinerPool::deepset_max: return SpanPool::max;
    case CombinerPool::mean:
    case CombinerPool::relu_mean:
    case CombinerPool::deepset_mean: return SpanPool::mean;
    case CombinerPool::sum:
    case CombinerPool::relu_sum:
    case CombinerPool::deepset_sum: return SpanPool::sum;
  }
  throw InternalError("combiner: a pool without a reduction");
}

bool is_projected(CombinerSummary summary) {
  return summary == CombinerSummary::proj || summary == CombinerSummary::wsum_proj;
}

Variable merge_heads(const Variable& x) {  // [B, H, N, E] -> [B, N, H E]
  return reshape(contiguous(transpose(x, 1, 2)), {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

Variable split_heads(const Variable& x, Index heads) {  // [B, N, H E] -> [B, H, N, E]
  return transpose(reshape(x, {x.dim(0), x.dim(1), heads, x.dim(2) / heads}), 1, 2);
}

// One call of the mechanism.
class Combining {
 public:
  Combining(const Variable& q, const Variable& k, const Variable& v, const Mask& mask, const CombinerConfig& config,
            bool causal, const CombinerLearned& learned, const RandomState& random)
      : q_(q), k_(k), v_(v), mask_(mask), config_(config), causal_(causal), learned_(learned), random_(random) {}

  CombinerResult run() const {
    switch (config_.pattern) {
      case CombinerPattern::fixed:
        return over_spans(BlockKind::fixed, kernels::segment_spans(q_.dim(2), config_.segment, q_.value().device()));
      case CombinerPattern::logsparse:
        return over_spans(BlockKind::logsparse, kernels::level_spans(q_.dim(2), q_.value().device()));
      case CombinerPattern::vertical: return over_grid(BlockKind::vertical);
      case CombinerPattern::horizontal: return over_grid(BlockKind::horizontal);
      case CombinerPattern::mixture: return over_grid(BlockKind::mixture);
      case CombinerPattern::average: {
        const Variable vertical = over_grid(BlockKind::vertical).out, horizontal = over_grid(BlockKind::horizontal).out;
        return {.out = mul_scalar(add(vertical, horizontal), 0.5), .lse = {}, .q_span = {}, .k_span = {}, .v_span = {}};
      }
      case CombinerPattern::rowmajor: return over_rows();
    }
    throw InternalError("combiner: a pattern without a rule");
  }

  // What run() has as `out`. On the CPU logsparse makes no tables for it.
  Variable out() const {
    const bool drops = random_.defined() && config_.attention_dropout > 0;
    if (config_.pattern == CombinerPattern::logsparse && q_.value().device().is_cpu() && !drops)
      return level_attention(q_, k_, v_, causal_, mask_).out;
    return run().out;
  }

 private:
  // Options of attention with dropout on its direct weights; each use has a stream of its own.
  BlockAttentionOptions dropped(std::string_view use) const {
    if (!random_.defined() || config_.attention_dropout == 0) return {};
    return {.dropout = config_.attention_dropout, .random = random_.with_stream(random_.stream ^ stream_id(use))};
  }

  BlockPattern block_pattern(BlockKind kind) const {
    return {.kind = kind, .size = config_.segment, .causal = causal_, .own_span = config_.own_span && !causal_};
  }

  // What is pooled in place of queries or keys; undefined: themselves.
  Variable pooled(const Variable& x, const Variable& weight) const {  // [B, H, N, E]
    if (!is_deepset(config_.pool) && !is_relu(config_.pool)) return {};
    const Variable rows = contiguous(transpose(x, 1, 2));  // [B, N, H, E]
    const Variable mapped = is_deepset(config_.pool) ? linear(real_rows(rows, mask_), weight) : rows;
    return transpose(relu(mapped), 1, 2);
  }

  CombinerResult over_spans(BlockKind kind, const Tensor& spans) const {
    const BlockAttentionOptions drop = dropped("local");
    const SpanSummaries summaries{.spans = spans,
                                  .pool = reduction(config_.pool),
                                  .pooled_q = pooled(q_, learned_.pool_q),
                                  .pooled_k = pooled(k_, learned_.pool_k),
                                  .attention = {.dropout = drop.dropout, .random = drop.random}};
    const SummaryAttentionResult r =
        summary_attention(q_, k_, v_, summaries, block_pattern(kind), mask_, dropped("direct"));
    return {r.out, r.lse, r.q_span, r.k_span, r.v_span};
  }

  // Summaries of what stands before or after each cell on its line.
  CombinerResult over_grid(BlockKind kind) const {
    std::vector<GridRun> runs;
    const auto run = [&](GridAxis along, bool after, std::string_view use) {
      runs.push_back({.along = along, .after = after, .attention = dropped(use)});
    };
    if (kind != BlockKind::horizontal) {
      run(GridAxis::column, false, "above");
      if (!causal_) run(GridAxis::column, true, "below");
    }
    if (kind != BlockKind::vertical) {
      run(GridAxis::row, false, "left");
      run(GridAxis::row, true, "right");
    }
    const BlockAttentionResult joint = grid_attention(q_, k_, v_, runs, block_pattern(kind), mask_,
                                                      dropped(kind == BlockKind::horizontal ? "horizontal" : "direct"));
    return {.out = joint.out, .lse = joint.lse, .q_span = {}, .k_span = {}, .v_span = {}};
  }

  // What each token makes of its whole row.
  BlockAttentionResult row_attention(const Variable& values) const {
    const BlockPattern row{.kind = BlockKind::row, .size = config_.segment};
    return block_attention(q_, k_, values, {}, row, mask_, dropped("row"));
  }

  Variable projected(const Variable& summary) const {
    const Variable mixed = add(linear(merge_heads(summary), learned_.w_o), real_rows(learned_.x, mask_));  // [B, N, D]
    const Variable normed = layer_norm(mixed, learned_.gamma, learned_.beta, learned_.epsilon);
    return split_heads(linear(normed, learned_.w_k), q_.dim(1));
  }

  CombinerResult over_rows() const {
    const Index width = v_.dim(3);
    const bool sums_keys = config_.summary == CombinerSummary::wsum || config_.summary == CombinerSummary::wsum_proj;
    const BlockAttentionResult row = row_attention(sums_keys ? concat({v_, k_}, 3) : v_);
    const Variable& sums = row.out;  // [B, H, N, C (+ E)]
    const Variable v_span = sums_keys ? slice(sums, 3, 0, width) : sums;
    Variable k_span = k_;
    if (sums_keys) k_span = slice(sums, 3, width, sums.dim(3));
    if (config_.summary == CombinerSummary::wsum_proj) k_span = projected(k_span);
    if (config_.summary == CombinerSummary::proj) {
      const bool same = !learned_.values.defined() || learned_.values.impl() == v_.impl();
      k_span = projected(same ? v_span : row_attention(learned_.values).out);
    }
    const BlockPattern pattern = block_pattern(BlockKind::rowmajor);
    const BlockAttentionOptions options = dropped("direct");
    const BlockAttentionResult joint =
        causal_ || options.dropout > 0
            ? block_attention(q_, k_, v_, {{k_span, v_span}}, pattern, mask_, options)
            : block_attention_across(q_, k_, v_, k_span, {v_span, row.lse, row.lse_rest}, pattern, mask_);
    return {joint.out, joint.lse, {}, k_span, v_span};
  }

  const Variable &q_, &k_, &v_;
  const Mask& mask_;
  const CombinerConfig& config_;
  bool causal_;
  const CombinerLearned& learned_;
  const RandomState& random_;
};

}  // namespace

namespace {

void check_inputs(const Variable& q, const Variable& k, const Variable& v, const Mask& mask,
                  const CombinerConfig& config, const CombinerLearned& learned) {
  constexpr const char* kOp = "combiner";
  for (const auto& [name, x] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) check_defined(kOp, name, *x);
  check_rank(kOp, "q", q.value(), 4);
  check_shape(kOp, "k", k.value(), q.shape());
  check_rank(kOp, "v", v.value(), 4);
  check_shape(kOp, "v", v.value(), q.shape().with(3, v.dim(3)));
  check_mask(kOp, mask, q.dim(0), q.dim(2));
  if (is_deepset(config.pool))
    for (const auto& [name, x] : {std::pair{"pool_q", &learned.pool_q}, {"pool_k", &learned.pool_k}})
      check_defined(kOp, name, *x);
  if (config.pattern == CombinerPattern::rowmajor && is_projected(config.summary))
    for (const auto& [name, x] : {std::pair{"x", &learned.x},
                                  {"w_o", &learned.w_o},
                                  {"gamma", &learned.gamma},
                                  {"beta", &learned.beta},
                                  {"w_k", &learned.w_k}})
      check_defined(kOp, name, *x);
}

}  // namespace

void check_combiner(const CombinerConfig& config, bool causal) {
  const std::string pattern(combiner_pattern_name(config.pattern));
  if (config.segment < 0) throw Error(cat("combiner: segment is ", config.segment, ", expected 0 or more"));
  if (config.segment > 0 && config.pattern == CombinerPattern::logsparse)
    throw Error(cat("combiner: segment is ", config.segment,
                    " with pattern logsparse, expected 0: its blocks are of 2, 4, 8, ... tokens"));
  if (config.summary != CombinerSummary::proj && config.pattern != CombinerPattern::rowmajor)
    throw Error(cat("combiner: summary is ", combiner_summary_name(config.summary), " with pattern ", pattern,
                    ", expected proj, which is the default: other summaries go with pattern rowmajor alone"));
  if (config.pool != CombinerPool::max && config.pattern != CombinerPattern::fixed)
    throw Error(cat("combiner: pool is ", combiner_pool_name(config.pool), " with pattern ", pattern,
                    ", expected max: other pools go with pattern fixed alone"));
  const bool has_own = config.pattern == CombinerPattern::fixed || config.pattern == CombinerPattern::rowmajor;
  if (config.own_span && (!has_own || causal))
    throw Error(cat("combiner: own_span is true with pattern ", pattern, causal ? " and causal" : "",
                    ", expected false: it goes with patterns fixed and rowmajor that are not causal"));
  if (!(config.attention_dropout >= 0 && config.attention_dropout < 1))
    throw Error(cat("combiner: attention_dropout is ", config.attention_dropout, ", expected 0 <= p < 1"));
}

Index combiner_segment(const CombinerConfig& config, Index max_length) {
  if (config.segment > 0 || config.pattern == CombinerPattern::logsparse) return config.segment;
  if (max_length < 1)
    throw Error(cat("combiner: segment is 0 and max_length is ", max_length,
                    ", expected a segment, or the longest length to choose one by"));
  return Index{1} << std::lround(std::log2(static_cast<double>(max_length)) / 2);
}

CombinerResult combiner_attention(const Variable& q, const Variable& k, const Variable& v, const Mask& mask,
                                  const CombinerConfig& config, bool causal, const CombinerLearned& learned,
                                  const RandomState& random) {
  check_combiner(config, causal);
  check_inputs(q, k, v, mask, config, learned);
  return Combining(q, k, v, mask, config, causal, learned, random).run();
}

CombinerAttention::CombinerAttention(const Place& place, const AttentionConfig& config)
    : QkvAttention(place, config), config_(config.combiner), causal_(config.causal) {
  check_combiner(config_, causal_);
  config_.segment = combiner_segment(config_, config.max_length);
  const Index merged = heads() * head_width();
  if (is_deepset(config_.pool)) {
    learned_.pool_q = parameter("pool.query", {head_width(), head_width()}, xavier_uniform());
    learned_.pool_k = parameter("pool.key", {head_width(), head_width()}, xavier_uniform());
  }
  if (config_.pattern == CombinerPattern::rowmajor && is_projected(config_.summary)) {
    learned_.w_o = parameter("summary.out", {merged, width()}, xavier_uniform());
    learned_.gamma = parameter("summary.gamma", {width()}, ones_init());
    learned_.beta = parameter("summary.beta", {width()}, zeros_init());
    learned_.w_k = parameter("summary.key", {width(), merged}, xavier_uniform());
  }
}

CombinerLearned CombinerAttention::learned_of(const AttentionInput& in, const Heads& heads) const {
  CombinerLearned learned = learned_;
  learned.x = in.data;
  learned.values = heads.v;
  return learned;
}

CombinerResult CombinerAttention::combined(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  const Heads heads = project(in);
  return combiner_attention(heads.q, heads.k, heads.v, in.mask, config_, causal_, learned_of(in, heads));
}

Variable CombinerAttention::mix(const AttentionInput& in, const Heads& heads, const Variable& values,
                                bool draws) const {
  RandomState random;
  if (draws && config_.attention_dropout > 0) {
    if (!in.rng.defined())
      throw Error(cat("combiner: '", path(), "' with attention_dropout = ", config_.attention_dropout,
                      " is training and needs a RandomState, which is undefined"));
    random = in.rng.with_stream(stream_id(path()));
  }
  return Combining(heads.q, heads.k, values, in.mask, config_, causal_, learned_of(in, heads), random).out();
}

}  // namespace subquad::nn
