#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/lag_column_attention/cpu.h"
#include "subquad/kernels/lag_column_attention/cuda.h"

namespace subquad::kernels {
namespace {

void check_list(const char* op, const char* name, const Tensor& list, const Tensor& q, const Mask& mask) {
  check_rank(op, name, list, 3);
  check_shape(op, name, list, {q.dim(0), q.dim(1), list.dim(2)});
  check_dtype(op, name, list, kInt64);
  check_contiguous(op, name, list);
  check_same_device(op, "q", q, name, list);
  if (list.device().is_cpu()) cpu::check_chosen(op, name, list, mask, q.dim(2));
}

void check_score(const char* op, const char* name, const Tensor& score, const Tensor& q) {
  if (!score.defined()) return;
  check_shape(op, name, score, q.shape().without(3));
  check_same_kind(op, "q", q, name, score);
  check_contiguous(op, name, score);
}

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                  const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options) {
  check_heads(op, q, k, v, mask, options.scale);
  check_shape(op, "k", k, q.shape());
  if (mask.defined() && !mask.prefix)
    throw Error(cat(op, ": mask has padding before real tokens, expected a prefix mask; compact the tensors first"));
  check_list(op, "lags", chosen.lags, q, mask);
  check_list(op, "columns", chosen.columns, q, mask);
  check_score(op, "lag_score", scores.lag, q);
  check_score(op, "col_score", scores.col, q);
  check_dropout(op, options.dropout, options.random, "q", q);
}

LagColumnOptions with_scale(LagColumnOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

// Of logits and weighted sums; padding is counted.
Flops work(const Tensor& q, const Tensor& v, const LagColumns& chosen) {
  const double entries =
      static_cast<double>(q.size() / q.dim(3)) * static_cast<double>(chosen.lags.dim(2) + chosen.columns.dim(2));
  return {2 * entries * static_cast<double>(q.dim(3) + v.dim(3))};
}

}  // namespace

AttentionOutput lag_column_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                                     const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options) {
  constexpr const char* kOp = "lag_column_attention";
  check_inputs(kOp, q, k, v, chosen, scores, mask, options);
  const Shape rows = q.shape().without(3);
  AttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(rows, q.dtype(), q.device()),
                         empty(rows, q.dtype(), q.device())};
  const LagColumnOptions scaled = with_scale(options, q.dim(3));
  const Tensor rows_q = with_unit_stride(q), rows_k = with_unit_stride(k), rows_v = with_unit_stride(v);
  on_device(
      q.device(),
      [&](auto) { cpu::lag_column_attention(rows_q, rows_k, rows_v, chosen, scores, mask, scaled, result); },
      [&](auto) { cuda::lag_column_attention(rows_q, rows_k, rows_v, chosen, scores, mask, scaled, result); },
      work(q, v, chosen));
  return result;
}

LagColumnGrads lag_column_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const LagColumns& chosen, const AttentionOutput& forward,
                                         const LagColumnScores& scores, const Mask& mask,
                                         const LagColumnOptions& options) {
  constexpr const char* kOp = "lag_column_attention_grad";
  check_inputs(kOp, q, k, v, chosen, scores, mask, options);
  check_upstream(kOp, dout, dlse, q, v, forward);
  const Shape rows = q.shape().without(3);
  const HeadGrads heads = empty_head_grads(kOp, q, k, v);
  LagColumnGrads grads{heads.q, heads.k, heads.v, empty(rows, q.dtype(), q.device(), kOp),
                       empty(rows, q.dtype(), q.device(), kOp)};
  const AttentionOutput f = {with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  const LagColumnOptions scaled = with_scale(options, q.dim(3));
  const Tensor up = with_unit_stride(dout);
  const Tensor rows_q = with_unit_stride(q), rows_k = with_unit_stride(k), rows_v = with_unit_stride(v);
  on_device(
      q.device(),
      [&](auto) {
        cpu::lag_column_attention_grad(up, dlse, rows_q, rows_k, rows_v, chosen, f, scores, mask, scaled, grads);
      },
      [&](auto) {
        cuda::lag_column_attention_grad(up, dlse, rows_q, rows_k, rows_v, chosen, f, scores, mask, scaled, grads);
      },
      Flops{2.5 * work(q, v, chosen).count});
  return grads;
}

}  // namespace subquad::kernels
