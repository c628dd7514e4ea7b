#include "subquad/autograd/ops/summary_attention.h"

#include <array>

#include "subquad/autograd/check.h"
#include "subquad/autograd/record.h"
#include "subquad/kernels/elementwise/elementwise.h"

namespace subquad {

namespace {

constexpr const char* kOp = "summary_attention";

Tensor merge_heads(const Tensor& x) {  // [B, H, N, E] -> [B, N, H E], a view where heads lie so
  return x.transpose(1, 2).contiguous().reshape({x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

Tensor split_heads(const Tensor& x, Index heads) {  // [B, N, H E] -> [B, H, N, E], a view
  return x.reshape({x.dim(0), x.dim(1), heads, x.dim(2) / heads}).transpose(1, 2);
}

Tensor sum_of(const Tensor& grad, const Tensor& from_outside) {
  return from_outside.defined() ? kernels::add(grad, from_outside) : grad;
}

// What backward keeps.
struct Kept {
  Saved q, k, v, pooled_q, pooled_k;  // the last two merged, [B, N, H E]
  Saved out, lse, rest;
  Saved q_span, k_span, v_span, span_lse, span_rest;
  std::array<kernels::SpanPooled, 2> pooled;
  Saved spans, real, lengths;
  bool prefix;
  SpanPool pool;
  SpanAttentionOptions attention;
  BlockPattern pattern;
  BlockAttentionOptions options;
};

enum Input { kQ, kK, kV, kPooledQ, kPooledK };

void backward(const Kept& kept, std::span<const Tensor> douts, Grads& grads) {
  const Mask mask{kept.real, kept.lengths, kept.prefix};
  const Tensor& q = kept.q;
  const Index heads = q.dim(1);
  const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(kept.out.get());
  kernels::BlockAttentionGrads g =
      kernels::block_attention_grad(dout, douts[1], q, kept.k, kept.v, {{kept.k_span, kept.v_span}},
                                    {kept.out, kept.lse, kept.rest}, kept.pattern, mask, kept.options);
  const Tensor dv_span = sum_of(g.dsummaries[0].v, douts[4]), dk_span = sum_of(g.dsummaries[0].k, douts[3]);
  Tensor dq_span =
      kernels::span_attention_add_grads(dv_span, kept.q_span, kept.k, kept.v, kept.spans,
                                        {kept.v_span, kept.span_lse, kept.span_rest}, g.dk, g.dv, mask, kept.attention);
  dq_span = sum_of(dq_span, douts[2]);

  const bool apart = grads.wanted(kPooledQ) || grads.wanted(kPooledK);
  if (apart || grads.wanted(kQ) || grads.wanted(kK)) {
    const bool of_inputs = !kept.pooled_q.get().defined();
    // as they lie, [B, N, H, E] in memory
    Tensor dq_rows = of_inputs ? merge_heads(g.dq) : zeros_like(kept.pooled_q.get());
    Tensor dk_rows = of_inputs ? merge_heads(g.dk) : zeros_like(kept.pooled_k.get());
    std::array<kernels::SpanPoolGrad, 2> pooled = {
        {{merge_heads(dq_span), of_inputs ? merge_heads(q) : kept.pooled_q.get(), kept.pooled[0], dq_rows},
         {merge_heads(dk_span), of_inputs ? merge_heads(kept.k) : kept.pooled_k.get(), kept.pooled[1], dk_rows}}};
    kernels::span_pool_add_grads(pooled, kept.spans, kept.pool, mask);
    if (of_inputs) {
      g.dq = split_heads(dq_rows, heads);
      g.dk = split_heads(dk_rows, heads);
    }
    if (grads.wanted(kPooledQ)) grads.add(kPooledQ, split_heads(dq_rows, heads));
    if (grads.wanted(kPooledK)) grads.add(kPooledK, split_heads(dk_rows, heads));
  }
  if (grads.wanted(kQ)) grads.add(kQ, g.dq);
  if (grads.wanted(kK)) grads.add(kK, g.dk);
  if (grads.wanted(kV)) grads.add(kV, g.dv);
}

}  // namespace

SummaryAttentionResult summary_attention(const Variable& q, const Variable& k, const Variable& v,
                                         const SpanSummaries& summaries, const BlockPattern& pattern, const Mask& mask,
                                         const BlockAttentionOptions& options) {
  for (const auto& [name, x] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) check_defined(kOp, name, *x);
  check_rank(kOp, "q", q.value(), 4);
  check_shape(kOp, "k", k.value(), q.shape());
  const bool apart = summaries.pooled_q.defined();
  if (apart != summaries.pooled_k.defined())
    throw Error(cat(kOp, ": one of pooled_q and pooled_k is undefined, expected both or none"));
  const Variable &from_q = apart ? summaries.pooled_q : q, &from_k = apart ? summaries.pooled_k : k;
  check_shape(kOp, "pooled_q", from_q.value(), q.shape());
  check_shape(kOp, "pooled_k", from_k.value(), q.shape());

  const std::array<Tensor, 2> rows = {merge_heads(from_q.value()), merge_heads(from_k.value())};
  const std::array<kernels::SpanPooled, 2> pooled = kernels::span_pool(rows, summaries.spans, summaries.pool, mask);
  const Tensor q_span = split_heads(pooled[0].out, q.dim(1)), k_span = split_heads(pooled[1].out, q.dim(1));
  const kernels::SpanAttentionOutput local =
      kernels::span_attention(q_span, k.value(), v.value(), summaries.spans, mask, summaries.attention);
  const Tensor& v_span = local.out;
  const kernels::BlockAttentionOutput f =
      kernels::block_attention(q.value(), k.value(), v.value(), {{k_span, v_span}}, pattern, mask, options);

  const Kept kept{.q = q,
                  .k = k,
                  .v = v,
                  .pooled_q = apart ? Saved(rows[0]) : Saved(),
                  .pooled_k = apart ? Saved(rows[1]) : Saved(),
                  .out = f.out,
                  .lse = f.lse,
                  .rest = f.lse_rest,
                  .q_span = q_span,
                  .k_span = k_span,
                  .v_span = v_span,
                  .span_lse = local.lse,
                  .span_rest = local.lse_rest,
                  .pooled = pooled,
                  .spans = summaries.spans,
                  .real = mask.real,
                  .lengths = mask.lengths,
                  .prefix = mask.prefix,
                  .pool = summaries.pool,
                  .attention = summaries.attention,
                  .pattern = pattern,
                  .options = options};
  // With the gradients of the parts: dq, dk, dv of block_attention; dk, dv of span_attention, whose q is q_S; then
  // through the pools dq of q_S and dk of k_S.
  const std::vector<Variable> results =
      record(kOp, {f.out, f.lse, q_span, k_span, v_span}, {q, k, v, summaries.pooled_q, summaries.pooled_k},
             [kept](std::span<const Tensor> douts, Grads& grads) { backward(kept, douts, grads); });
  return {.out = results[0], .lse = results[1], .q_span = results[2], .k_span = results[3], .v_span = results[4]};
}

}  // namespace subquad
