#include "subquad/autograd/ops/grid_attention.h"

#include "subquad/autograd/check.h"
#include "subquad/autograd/record.h"

namespace subquad {

namespace {

constexpr const char* kOp = "grid_attention";

Tensor merge_heads(const Tensor& x) {  // [B, H, N, E] -> [B, N, H E], a view where heads lie so
  return x.transpose(1, 2).contiguous().reshape({x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

Tensor split_heads(const Tensor& x, Index heads) {  // [B, N, H E] -> [B, H, N, E], a view
  return x.reshape({x.dim(0), x.dim(1), heads, x.dim(2) / heads}).transpose(1, 2);
}

RunningMaxOptions maxima(const GridRun& run, const BlockPattern& pattern) {
  return {.columns = pattern.size, .along = run.along, .after = run.after};
}

BlockPattern line(const GridRun& run, const BlockPattern& pattern) {
  return {.kind = run.along == GridAxis::row ? BlockKind::row : BlockKind::column,
          .size = pattern.size,
          .sight = run.after ? LineSight::after : LineSight::before};
}

// What backward keeps.
struct KeptRun {
  GridRun run;
  Saved q, k, out, lse, rest;  // q_S, k_S; of block_attention along the line, out is v_S
};
struct Kept {
  Saved q, k, v, out, lse, rest;
  std::vector<KeptRun> runs;
  Saved real, lengths;
  bool prefix;
  BlockPattern pattern;
  BlockAttentionOptions options;
};

enum Input { kQ, kK, kV };

void backward(const Kept& kept, std::span<const Tensor> douts, Grads& grads) {
  const Mask mask{kept.real, kept.lengths, kept.prefix};
  const Tensor &q = kept.q, &k = kept.k;
  const Index heads = q.dim(1);
  std::vector<kernels::Summaries> summaries;
  for (const KeptRun& run : kept.runs) summaries.push_back({run.k, run.out});
  const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(kept.out.get());
  kernels::BlockAttentionGrads g = kernels::block_attention_grad(
      dout, douts[1], q, k, kept.v, summaries, {kept.out, kept.lse, kept.rest}, kept.pattern, mask, kept.options);
  const Tensor q_rows = merge_heads(q), k_rows = merge_heads(k);
  Tensor dq_rows = merge_heads(g.dq), dk_rows = merge_heads(g.dk);  // as they lie
  for (std::size_t t = 0; t < kept.runs.size(); ++t) {
    const auto& [run, q_run, k_run, out, lse, rest] = kept.runs[t];
    const RunningMaxOptions options = maxima(run, kept.pattern);
    const Tensor dq_run = kernels::block_attention_add_grads(g.dsummaries[t].v, q_run, k, kept.v, {out, lse, rest},
                                                             line(run, kept.pattern), g.dk, g.dv, mask, run.attention);
    kernels::running_max_add_grad(merge_heads(g.dsummaries[t].k), k_rows, merge_heads(k_run), options, dk_rows, mask);
    kernels::running_max_add_grad(merge_heads(dq_run), q_rows, merge_heads(q_run), options, dq_rows, mask);
  }
  if (grads.wanted(kQ)) grads.add(kQ, split_heads(dq_rows, heads));
  if (grads.wanted(kK)) grads.add(kK, split_heads(dk_rows, heads));
  if (grads.wanted(kV)) grads.add(kV, g.dv);
}

}  // namespace

BlockAttentionResult grid_attention(const Variable& q, const Variable& k, const Variable& v,
                                    const std::vector<GridRun>& runs, const BlockPattern& pattern, const Mask& mask,
                                    const BlockAttentionOptions& options) {
  for (const auto& [name, x] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) check_defined(kOp, name, *x);
  check_rank(kOp, "q", q.value(), 4);
  check_shape(kOp, "k", k.value(), q.shape());
  const Index heads = q.dim(1);
  const Tensor q_rows = merge_heads(q.value()), k_rows = merge_heads(k.value());
  std::vector<KeptRun> kept_runs;
  std::vector<kernels::Summaries> summaries;
  for (const GridRun& run : runs) {
    const Tensor q_run = split_heads(kernels::running_max(q_rows, maxima(run, pattern), mask), heads);
    const Tensor k_run = split_heads(kernels::running_max(k_rows, maxima(run, pattern), mask), heads);
    const kernels::BlockAttentionOutput local =
        kernels::block_attention(q_run, k.value(), v.value(), {}, line(run, pattern), mask, run.attention);
    summaries.push_back({k_run, local.out});
    kept_runs.push_back({run, q_run, k_run, local.out, local.lse, local.lse_rest});
  }
  const kernels::BlockAttentionOutput f =
      kernels::block_attention(q.value(), k.value(), v.value(), summaries, pattern, mask, options);

  const Kept kept{.q = q,
                  .k = k,
                  .v = v,
                  .out = f.out,
                  .lse = f.lse,
                  .rest = f.lse_rest,
                  .runs = kept_runs,
                  .real = mask.real,
                  .lengths = mask.lengths,
                  .prefix = mask.prefix,
                  .pattern = pattern,
                  .options = options};
  // With the gradients of the parts: dq, dk, dv of the joint attention; dk, dv of each attention along a line, whose q
  // is q_S; then through the maxima dq of q_S and dk of k_S.
  const std::vector<Variable> results =
      record(kOp, {f.out, f.lse}, {q, k, v},
             [kept](std::span<const Tensor> douts, Grads& grads) { backward(kept, douts, grads); });
  return {.out = results[0], .lse = results[1], .lse_rest = f.lse_rest};
}

}  // namespace subquad
