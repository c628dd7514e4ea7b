#include "subquad/kernels/block_attention/block_attention.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/block_attention/cpu.h"
#include "subquad/kernels/block_attention/cuda.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/elementwise/elementwise.h"

namespace subquad::kernels {
namespace {

void check_pattern(const char* op, const BlockPattern& pattern) {
  const bool has_size = pattern.kind != BlockKind::logsparse;
  const bool is_window = pattern.kind == BlockKind::window;
  if (has_size && pattern.size < (is_window ? 0 : 1))
    throw Error(cat(op, ": the pattern's size is ", pattern.size, ", expected at least ", is_window ? 0 : 1));
  const bool may_own = (pattern.kind == BlockKind::fixed || pattern.kind == BlockKind::rowmajor) && !pattern.causal;
  if (pattern.own_span && !may_own)
    throw Error(cat(op, ": own_span is true, expected false: only fixed and rowmajor patterns that are not causal can ",
                    "see the summary of a query's own tokens"));
}

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                  const std::vector<Summaries>& summaries, const BlockPattern& pattern, const Mask& mask,
                  const BlockAttentionOptions& options) {
  check_rank(op, "q", q, 4);
  check_float(op, "q", q);
  const auto check = [&](const char* name, const Tensor& t, const Shape& shape) {
    check_shape(op, name, t, shape);
    check_same_kind(op, "q", q, name, t);
  };
  check_rank(op, "k", k, 4);
  const Index batch = q.dim(0), heads = q.dim(1), n = k.dim(2), width = q.dim(3);
  if (width < 1) throw ShapeError(cat(op, ": q is ", describe(q), ", expected at least one feature per head"));
  check("k", k, {batch, heads, n, width});
  check_rank(op, "v", v, 4);
  const Index value_width = v.dim(3);
  if (value_width < 1) throw ShapeError(cat(op, ": v is ", describe(v), ", expected at least one feature per head"));
  check("v", v, {batch, heads, n, value_width});
  check_pattern(op, pattern);
  if (q.dim(2) != query_rows(pattern, n))
    throw ShapeError(cat(op, ": q is ", describe(q), ", expected ", query_rows(pattern, n), " queries for k ",
                         k.shape(), " and this pattern"));
  const std::vector<Index> rows = summary_rows(pattern, n);
  if (summaries.size() != rows.size())
    throw Error(cat(op, ": ", summaries.size(), " summary tables came, expected ", rows.size(), " for this pattern"));
  for (std::size_t t = 0; t < rows.size(); ++t) {
    check(cat("summary ", t, "'s k").c_str(), summaries[t].k, {batch, heads, rows[t], width});
    check(cat("summary ", t, "'s v").c_str(), summaries[t].v, {batch, heads, rows[t], value_width});
  }
  check_mask(op, mask, batch, n);
  if (mask.defined()) check_same_device(op, "q", q, "mask", mask.real);
  if (!std::isfinite(options.scale)) throw Error(cat(op, ": scale is ", options.scale, ", expected a finite number"));
  check_dropout(op, options.dropout, options.random, "q", q);
}

BlockAttentionOptions with_scale(BlockAttentionOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

std::vector<Summaries> with_unit_strides(std::vector<Summaries> tables) {
  for (Summaries& table : tables) table = {with_unit_stride(table.k), with_unit_stride(table.v)};
  return tables;
}

void zero_all_but_dq(BlockAttentionGrads& grads) {
  fill(grads.dk, 0);
  fill(grads.dv, 0);
  for (Summaries& table : grads.dsummaries) {
    fill(table.k, 0);
    fill(table.v, 0);
  }
}

// Of logits and weighted sums; padding is counted.
Flops work(const Tensor& q, const Tensor& v, const BlockPattern& pattern) {
  return {2 * static_cast<double>(q.size() / q.dim(3)) * seen_entries(pattern, v.dim(2)) *
          static_cast<double>(q.dim(3) + v.dim(3))};
}

}  // namespace

namespace {

// Per query, where a grid (or row of segments) has `columns` by `rows`: its own line, then summaries. One of a line's L
// cells has (L - 1) / 2 before it. A cell at the rim has no summary of what stands beyond.
double seen_on_grid(const BlockPattern& pattern, double columns, double rows) {
  const double in_row = pattern.causal ? (columns + 1) / 2 : columns;
  const double above = (rows - 1) / 2, other_rows = pattern.causal ? above : 2 * above;
  const double vertical = (pattern.causal ? 1 : 2) * (columns - 1) * (rows - 1) / rows;
  const double horizontal = 2 * other_rows * (columns - 1) / columns;
  const bool whole = pattern.sight == LineSight::all;
  switch (pattern.kind) {
    case BlockKind::fixed:
    case BlockKind::rowmajor: return in_row + other_rows + (pattern.own_span ? 1 : 0);
    case BlockKind::vertical: return in_row + other_rows + vertical;
    case BlockKind::horizontal: return in_row + other_rows + horizontal;
    case BlockKind::mixture: return in_row + other_rows + vertical + horizontal;
    case BlockKind::row: return whole ? columns : (columns - 1) / 2;
    case BlockKind::column: return whole ? rows : above;
    case BlockKind::logsparse:
    case BlockKind::window: break;
  }
  throw InternalError("block_attention: a pattern without a grid");
}

}  // namespace

double seen_entries(const BlockPattern& pattern, Index n) {
  if (n == 0) return 0;
  const auto count = static_cast<double>(n);
  if (pattern.kind == BlockKind::logsparse) {
    const double levels = std::ceil(std::log2(count));
    return 1 + (pattern.causal ? levels / 2 : levels);
  }
  if (pattern.kind == BlockKind::window) {
    const auto reach = static_cast<double>(std::min(pattern.size, n - 1));
    const double before = reach - reach * (reach + 1) / (2 * count);  // the first queries have fewer
    return 1 + (pattern.causal ? before : 2 * before);
  }
  const auto columns = static_cast<double>(std::clamp<Index>(pattern.size, 1, n));
  return seen_on_grid(pattern, columns, std::max(count / columns, 1.0));
}

BlockAttentionOutput block_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const std::vector<Summaries>& summaries, const BlockPattern& pattern,
                                     const Mask& mask, const BlockAttentionOptions& options) {
  constexpr const char* kOp = "block_attention";
  check_inputs(kOp, q, k, v, summaries, pattern, mask, options);
  const Shape rows = q.shape().without(3);
  BlockAttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(rows, q.dtype(), q.device(), kOp),
                              empty(rows, q.dtype(), q.device(), kOp)};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const std::vector<Summaries> tables = with_unit_strides(summaries);
  const BlockAttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(), [&](auto) { cpu::block_attention(q_rows, k_rows, v_rows, tables, pattern, mask, scaled, result); },
      [&](auto) { cuda::block_attention(q_rows, k_rows, v_rows, tables, pattern, mask, scaled, result); },
      work(q, v, pattern));
  return result;
}

BlockAttentionGrads block_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const std::vector<Summaries>& summaries,
                                         const BlockAttentionOutput& forward, const BlockPattern& pattern,
                                         const Mask& mask, const BlockAttentionOptions& options) {
  constexpr const char* kOp = "block_attention_grad";
  check_inputs(kOp, q, k, v, summaries, pattern, mask, options);
  const auto check = [&](const char* name, const Tensor& t, const Shape& shape) {
    check_shape(kOp, name, t, shape);
    check_same_kind(kOp, "q", q, name, t);
  };
  const Shape rows = q.shape().without(3);
  const Shape out_shape = {q.dim(0), q.dim(1), q.dim(2), v.dim(3)};
  check("dout", dout, out_shape);
  check("out", forward.out, out_shape);
  check("lse", forward.lse, rows);
  check("lse_rest", forward.lse_rest, rows);
  if (dlse.defined()) check("dlse", dlse, rows);
  // A window is all that looks at its q, k and v; elsewhere other gradients are added to these, as they lie.
  const HeadGrads heads =
      pattern.kind == BlockKind::window
          ? empty_head_grads(kOp, q, k, v)
          : HeadGrads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k, k.dim(3)), empty_heads(kOp, v, v.dim(3))};
  BlockAttentionGrads grads{heads.q, heads.k, heads.v, {}};
  for (const Summaries& table : summaries)
    grads.dsummaries.push_back({empty_heads(kOp, table.k, k.dim(3)), empty_heads(kOp, table.v, v.dim(3))});
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const std::vector<Summaries> tables = with_unit_strides(summaries);
  const Tensor dout_rows = with_unit_stride(dout);
  const BlockAttentionOutput out_rows{with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  const BlockAttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(),
      [&](auto) {
        zero_all_but_dq(grads);
        cpu::block_attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, tables, out_rows, pattern, mask, scaled,
                                  grads);
      },
      [&](auto) {
        cuda::block_attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, tables, out_rows, pattern, mask, scaled,
                                   grads);
      },
      Flops{2.5 * work(q, v, pattern).count});
  return grads;
}

Tensor block_attention_add_grads(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const BlockAttentionOutput& forward, const BlockPattern& pattern, Tensor& dk,
                                 Tensor& dv, const Mask& mask, const BlockAttentionOptions& options) {
  constexpr const char* kOp = "block_attention_add_grads";
  check_inputs(kOp, q, k, v, {}, pattern, mask, options);
  for (const auto& [name, grad, of] : {std::tuple{"dk", &dk, &k}, {"dv", &dv, &v}}) {
    check_shape(kOp, name, *grad, of->shape());
    check_same_kind(kOp, "q", q, name, *grad);
    if (grad->strides()[3] != 1) throw ShapeError(cat(kOp, ": ", name, " has rows that are not contiguous"));
  }
  const Shape rows = q.shape().without(3), out_shape = {q.dim(0), q.dim(1), q.dim(2), v.dim(3)};
  for (const auto& [name, t, shape] : {std::tuple{"dout", &dout, &out_shape},
                                       {"out", &forward.out, &out_shape},
                                       {"lse", &forward.lse, &rows},
                                       {"lse_rest", &forward.lse_rest, &rows}}) {
    check_shape(kOp, name, *t, *shape);
    check_same_kind(kOp, "q", q, name, *t);
  }
  Tensor dq;
  on_device(
      q.device(),
      [&](auto) {
        BlockAttentionGrads grads{empty_heads(kOp, q, q.dim(3)), dk, dv, {}};
        cpu::block_attention_grad(with_unit_stride(dout), {}, with_unit_stride(q), with_unit_stride(k),
                                  with_unit_stride(v), {},
                                  {with_unit_stride(forward.out), forward.lse, forward.lse_rest}, pattern, mask,
                                  with_scale(options, q.dim(3)), grads);
        dk.bump_version();
        dv.bump_version();
        dq = grads.dq;
      },
      [&](auto) {
        const BlockAttentionGrads grads = block_attention_grad(dout, {}, q, k, v, {}, forward, pattern, mask, options);
        add_into(dk, grads.dk);
        add_into(dv, grads.dv);
        dq = grads.dq;
      },
      Flops{2.5 * work(q, v, pattern).count});
  return dq;
}

namespace {

void check_results(const char* op, const char* name, const Tensor& q, Index value_width,
                   const BlockAttentionOutput& results) {
  const Shape rows = q.shape().without(3), out = q.shape().with(3, value_width);
  for (const auto& [part, t, shape] : {std::tuple{".out", &results.out, &out},
                                       {".lse", &results.lse, &rows},
                                       {".lse_rest", &results.lse_rest, &rows}}) {
    const std::string full = cat(name, part);
    check_shape(op, full.c_str(), *t, *shape);
    check_same_kind(op, "q", q, full.c_str(), *t);
  }
}

void check_across(const char* op, const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                  const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options) {
  if (pattern.kind != BlockKind::rowmajor || pattern.causal || options.dropout != 0)
    throw Error(cat(op, ": expected a pattern that is rowmajor and not causal, without dropout"));
  check_inputs(op, q, k_span, row.out, {{k_span, row.out}}, pattern, mask, options);
  check_results(op, "row", q, row.out.dim(3), row);
  if (!q.device().is_cpu()) throw DeviceError(cat(op, ": q is ", describe(q), ", expected a tensor on the CPU"));
}

// Every query's own row is summed already.
Flops across_work(const Tensor& q, const Tensor& v_span, const BlockPattern& pattern) {
  const double row = seen_entries({.kind = BlockKind::row, .size = pattern.size}, q.dim(2));
  const double entries = seen_entries(pattern, q.dim(2)) - row + 1;
  return {2 * static_cast<double>(q.size() / q.dim(3)) * entries * static_cast<double>(q.dim(3) + v_span.dim(3))};
}

}  // namespace

BlockAttentionOutput block_attention_across(const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                                            const BlockPattern& pattern, const Mask& mask,
                                            const BlockAttentionOptions& options) {
  constexpr const char* kOp = "block_attention_across";
  check_across(kOp, q, k_span, row, pattern, mask, options);
  const Shape rows = q.shape().without(3);
  BlockAttentionOutput result{empty_heads(kOp, q, row.out.dim(3)), empty(rows, q.dtype(), q.device(), kOp),
                              empty(rows, q.dtype(), q.device(), kOp)};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k_span);
  const BlockAttentionOutput seen{with_unit_stride(row.out), row.lse, row.lse_rest};
  on_device(
      q.device(),
      [&](auto) {
        cpu::block_attention_across(q_rows, k_rows, seen, pattern, mask, with_scale(options, q.dim(3)), result);
      },
      [](auto) {}, across_work(q, row.out, pattern));
  return result;
}

BlockAttentionAcrossGrads block_attention_across_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q,
                                                      const Tensor& k_span, const BlockAttentionOutput& row,
                                                      const BlockAttentionOutput& forward, const BlockPattern& pattern,
                                                      const Mask& mask, const BlockAttentionOptions& options) {
  constexpr const char* kOp = "block_attention_across_grad";
  check_across(kOp, q, k_span, row, pattern, mask, options);
  check_results(kOp, "forward", q, row.out.dim(3), forward);
  check_shape(kOp, "dout", dout, row.out.shape());
  check_same_kind(kOp, "q", q, "dout", dout);
  if (dlse.defined()) {
    check_shape(kOp, "dlse", dlse, row.lse.shape());
    check_same_kind(kOp, "q", q, "dlse", dlse);
  }
  BlockAttentionAcrossGrads grads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k_span, q.dim(3)),
                                  empty_heads(kOp, row.out, row.out.dim(3)),
                                  empty(row.lse.shape(), q.dtype(), q.device(), kOp)};
  const Tensor dout_rows = with_unit_stride(dout), q_rows = with_unit_stride(q), k_rows = with_unit_stride(k_span);
  const BlockAttentionOutput seen{with_unit_stride(row.out), row.lse, row.lse_rest};
  const BlockAttentionOutput results{with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  on_device(
      q.device(),
      [&](auto) {
        fill(grads.dk_span, 0);
        cpu::block_attention_across_grad(dout_rows, dlse, q_rows, k_rows, seen, results, pattern, mask,
                                         with_scale(options, q.dim(3)), grads);
      },
      [](auto) {}, Flops{2.5 * across_work(q, row.out, pattern).count});
  return grads;
}

}  // namespace subquad::kernels
