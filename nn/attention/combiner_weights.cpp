// What a query of Combiner gives to tokens and to summaries: the parts of combiner.cpp once more, with identity columns
// as values of the tokens, or of the summaries, and nothing on the other side.
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/grid_attention.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/autograd/ops/summary_attention.h"
#include "subquad/autograd/record.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::nn {

namespace {

// A table of summaries: their keys, and the weights of the tokens that each one averages.
struct Table {
  Variable k_span;  // [B, H, S, E]
  Tensor local;     // [B, H, S, N]
};

struct Arguments {
  const Variable &q, &k, &v;
  const Mask& mask;
  const CombinerConfig& config;
  bool causal;
  const CombinerLearned& learned;

  MatrixInputs of(Index positions) const {
    return {.batch = q.dim(0),
            .heads = q.dim(1),
            .positions = positions,
            .columns = std::max<Index>(q.dim(3), 16),
            .dtype = q.dtype(),
            .device = q.device()};
  }
  BlockPattern pattern(BlockKind kind) const {
    return {.kind = kind, .size = config.segment, .causal = causal, .own_span = config.own_span && !causal};
  }
};

// [B, H, N, E] -> running maxima [B, H, cells, E]
Variable maxima(const Arguments& a, const Variable& x, GridAxis along, bool after) {
  const Index heads = x.dim(1), width = x.dim(3);
  const Variable rows = reshape(contiguous(transpose(x, 1, 2)), {x.dim(0), x.dim(2), heads * width});
  const Variable most = running_max(rows, {.columns = a.config.segment, .along = along, .after = after}, a.mask);
  return transpose(reshape(most, {most.dim(0), most.dim(1), heads, width}), 1, 2);
}

Table run_along(const Arguments& a, GridAxis along, bool after) {
  const Variable q_span = maxima(a, a.q, along, after);
  const BlockPattern line{.kind = along == GridAxis::row ? BlockKind::row : BlockKind::column,
                          .size = a.config.segment,
                          .sight = after ? LineSight::after : LineSight::before};
  return {.k_span = maxima(a, a.k, along, after), .local = matrix_of(a.of(a.q.dim(2)), [&](const Variable& values) {
                                                    return block_attention(q_span, a.k, values, {}, line, a.mask).out;
                                                  })};
}

// In the order of kernels/block_attention.
std::vector<Table> grid_tables(const Arguments& a, BlockKind kind) {
  std::vector<Table> tables;
  if (kind != BlockKind::horizontal) {
    tables.push_back(run_along(a, GridAxis::column, false));
    if (!a.causal) tables.push_back(run_along(a, GridAxis::column, true));
  }
  if (kind != BlockKind::vertical) {
    tables.push_back(run_along(a, GridAxis::row, false));
    tables.push_back(run_along(a, GridAxis::row, true));
  }
  return tables;
}

std::vector<Table> tables_of(const Arguments& a, BlockKind kind) {
  const Index positions = a.q.dim(2);
  if (kind != BlockKind::fixed && kind != BlockKind::logsparse && kind != BlockKind::rowmajor)
    return grid_tables(a, kind);
  const CombinerResult made = combiner_attention(a.q, a.k, a.v, a.mask, a.config, a.causal, a.learned);
  const BlockPattern row{.kind = BlockKind::row, .size = a.config.segment};
  const Tensor spans = kind == BlockKind::fixed ? kernels::segment_spans(positions, a.config.segment, a.q.device())
                                                : kernels::level_spans(positions, a.q.device());
  return {{.k_span = made.k_span, .local = matrix_of(a.of(positions), [&](const Variable& values) {
                                    if (kind == BlockKind::rowmajor)
                                      return block_attention(a.q, a.k, values, {}, row, a.mask).out;
                                    return span_attention(made.q_span, a.k, values, spans, a.mask);
                                  })}};
}

Variable nothing(const Variable& keys, const Variable& values) {  // zeros for each key, as wide as the values
  return Variable(zeros(keys.shape().with(3, values.dim(3)), values.dtype(), values.device()));
}

// Of one softmax.
CombinerWeights weights_of(const Arguments& a, BlockKind kind) {
  const std::vector<Table> tables = tables_of(a, kind);
  const auto attend = [&](const Variable& values, const Variable& summaries) {  // of all tables, or undefined
    std::vector<BlockSummaries> all;
    Index start = 0;
    for (const Table& table : tables) {
      const Index stop = start + table.k_span.dim(2);
      all.push_back({table.k_span, summaries.defined() ? contiguous(slice(summaries, 2, start, stop))
                                                       : nothing(table.k_span, values)});
      start = stop;
    }
    return block_attention(a.q, a.k, values, all, a.pattern(kind), a.mask).out;
  };
  std::vector<Variable> locals;
  for (const Table& table : tables) locals.push_back(Variable(table.local));
  const Tensor local = concat(locals, 2).value();
  return {.direct = matrix_of(a.of(a.q.dim(2)), [&](const Variable& values) { return attend(values, {}); }),
          .summaries = matrix_of(a.of(local.dim(2)),
                                 [&](const Variable& summaries) { return attend(nothing(a.k, summaries), summaries); }),
          .local = local};
}

BlockKind kind_of(CombinerPattern pattern) {
  switch (pattern) {
    case CombinerPattern::fixed: return BlockKind::fixed;
    case CombinerPattern::logsparse: return BlockKind::logsparse;
    case CombinerPattern::vertical: return BlockKind::vertical;
    case CombinerPattern::horizontal: return BlockKind::horizontal;
    case CombinerPattern::mixture: return BlockKind::mixture;
    case CombinerPattern::rowmajor: return BlockKind::rowmajor;
    case CombinerPattern::average: break;  // two softmaxes
  }
  throw InternalError("combiner: a pattern of no one softmax");
}

Tensor mean_of(const Tensor& a, const Tensor& b) {
  return mul_scalar(add(Variable(a), Variable(b)), 0.5).value();
}

// Side by side, each with half of its weights.
CombinerWeights average_of(const CombinerWeights& a, const CombinerWeights& b) {
  const auto halved = [](const Tensor& x) { return mul_scalar(Variable(x), 0.5); };
  return {.direct = mean_of(a.direct, b.direct),
          .summaries = concat({halved(a.summaries), halved(b.summaries)}, 3).value(),
          .local = concat({Variable(a.local), Variable(b.local)}, 2).value()};
}

// The numbers of the elements of each row that are not 0.
std::vector<std::vector<Index>> nonzeros(const Tensor& matrix) {  // [1, 1, R, C]
  const Tensor there = matrix.to(kCpu).contiguous();
  std::vector<std::vector<Index>> rows(static_cast<std::size_t>(there.dim(2)));
  const auto cell = there.view<const double, 4>();
  for (Index i = 0; i < there.dim(2); ++i)
    for (Index j = 0; j < there.dim(3); ++j)
      if (cell(0, 0, i, j) != 0) rows[static_cast<std::size_t>(i)].push_back(j);
  return rows;
}

}  // namespace

CombinerWeights combiner_weights(const Variable& q, const Variable& k, const Variable& v, const Mask& mask,
                                 const CombinerConfig& config, bool causal, const CombinerLearned& learned) {
  const NoGrad no_grad;
  check_combiner(config, causal);
  const Arguments arguments{q, k, v, mask, config, causal, learned};
  if (config.pattern != CombinerPattern::average) return weights_of(arguments, kind_of(config.pattern));
  return average_of(weights_of(arguments, BlockKind::vertical), weights_of(arguments, BlockKind::horizontal));
}

CombinerSight combiner_sight(const CombinerConfig& config, bool causal, Index positions, const Mask& mask) {
  CombinerConfig plain = config;  // neither pools nor projected keys change what is seen
  plain.pool = CombinerPool::max;
  plain.summary = config.pattern == CombinerPattern::rowmajor ? CombinerSummary::none : CombinerSummary::proj;
  const Device device = mask.defined() ? mask.real.device() : kCpu;
  const Variable zero(zeros({1, 1, positions, 1}, kFloat64, device));  // equal logits: whatever is seen has a weight
  const CombinerWeights weights = combiner_weights(zero, zero, zero, mask, plain, causal);
  return {
      .direct = nonzeros(weights.direct), .summaries = nonzeros(weights.summaries), .tokens = nonzeros(weights.local)};
}

CombinerWeights CombinerAttention::weights(const AttentionInput& in) const {
  const ModuleScope scope = enter();
  const NoGrad no_grad;
  const Heads heads = project(in);
  return combiner_weights(heads.q, heads.k, heads.v, in.mask, config_, causal_, learned_of(in, heads));
}

CombinerSight CombinerAttention::sight(Index positions, const Mask& mask) const {
  return combiner_sight(config_, causal_, positions, mask);
}

}  // namespace subquad::nn
