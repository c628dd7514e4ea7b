#include "subquad/autograd/ops/block_attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

namespace {

struct SavedSummaries {
  Saved k, v;
};

}  // namespace

BlockAttentionResult block_attention(const Variable& q, const Variable& k, const Variable& v,
                                     const std::vector<BlockSummaries>& summaries, const BlockPattern& pattern,
                                     const Mask& mask, const BlockAttentionOptions& options) {
  std::vector<Variable> inputs = {q, k, v};
  std::vector<kernels::Summaries> tables;
  std::vector<SavedSummaries> saved;
  for (const BlockSummaries& table : summaries) {
    inputs.push_back(table.k);
    inputs.push_back(table.v);
    tables.push_back({table.k.value(), table.v.value()});
    saved.push_back({table.k, table.v});
  }
  const kernels::BlockAttentionOutput f =
      kernels::block_attention(q.value(), k.value(), v.value(), tables, pattern, mask, options);
  // With p = exp(s - lse) recomputed line by line, over the entries e that query i sees:
  //   ds = p (dout value^T - rowsum(dout out) + dlse),  dq = scale ds key,  dkey = scale ds^T q,  dvalue = p^T dout
  const auto backward = [q = Saved(q), k = Saved(k), v = Saved(v), saved, out = Saved(f.out), lse = Saved(f.lse),
                         rest = Saved(f.lse_rest), real = Saved(mask.real), lengths = Saved(mask.lengths),
                         prefix = mask.prefix, pattern, options](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(out);
    std::vector<kernels::Summaries> same_tables;
    for (const SavedSummaries& table : saved) same_tables.push_back({table.k, table.v});
    const kernels::BlockAttentionGrads g = kernels::block_attention_grad(
        dout, douts[1], q, k, v, same_tables, {out, lse, rest}, pattern, {real, lengths, prefix}, options);
    std::vector<Tensor> all = {g.dq, g.dk, g.dv};
    for (const kernels::Summaries& table : g.dsummaries) {
      all.push_back(table.k);
      all.push_back(table.v);
    }
    for (std::size_t i = 0; i < all.size(); ++i)
      if (grads.wanted(static_cast<int>(i))) grads.add(static_cast<int>(i), all[i]);
  };
  const std::vector<Variable> results = record("block_attention", {f.out, f.lse}, inputs, backward);
  return {results[0], results[1], f.lse_rest};
}

BlockAttentionResult block_attention_across(const Variable& q, const Variable& k, const Variable& v,
                                            const Variable& k_span, const BlockAttentionResult& row,
                                            const BlockPattern& pattern, const Mask& mask,
                                            const BlockAttentionOptions& options) {
  if (!q.value().device().is_cpu()) return block_attention(q, k, v, {{k_span, row.out}}, pattern, mask, options);
  const kernels::BlockAttentionOutput f = kernels::block_attention_across(
      q.value(), k_span.value(), {row.out.value(), row.lse.value(), row.lse_rest}, pattern, mask, options);
  // As block_attention's, over the summaries and the own row, which is one entry more: its logit is row.lse, its value
  // row.out.
  enum { kQ, kKeys, kRow, kRowLse };
  const auto backward = [q = Saved(q), keys = Saved(k_span), row_out = Saved(row.out), row_lse = Saved(row.lse),
                         row_rest = Saved(row.lse_rest), out = Saved(f.out), lse = Saved(f.lse),
                         rest = Saved(f.lse_rest), real = Saved(mask.real), lengths = Saved(mask.lengths),
                         prefix = mask.prefix, pattern, options](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(out);
    const kernels::BlockAttentionAcrossGrads g =
        kernels::block_attention_across_grad(dout, douts[1], q, keys, {row_out, row_lse, row_rest}, {out, lse, rest},
                                             pattern, {real, lengths, prefix}, options);
    if (grads.wanted(kQ)) grads.add(kQ, g.dq);
    if (grads.wanted(kKeys)) grads.add(kKeys, g.dk_span);
    if (grads.wanted(kRow)) grads.add(kRow, g.drow_out);
    if (grads.wanted(kRowLse)) grads.add(kRowLse, g.drow_lse);
  };
  const std::vector<Variable> results =
      record("block_attention_across", {f.out, f.lse}, {q, k_span, row.out, row.lse}, backward);
  return {results[0], results[1], f.lse_rest};
}

}  // namespace subquad
