#include "subquad/autograd/ops/attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

AttentionResult attention(const Variable& q, const Variable& k, const Variable& v, const Mask& keys,
                          const AttentionOptions& options) {
  const kernels::AttentionOutput f = kernels::attention(q.value(), k.value(), v.value(), keys, options);
  // With p = exp(s - lse) recomputed block by block from q, k and lse:           [Nq, Nk], never stored
  //   ds = p (dout v^T - rowsum(dout out) + dlse),  dq = scale ds k,  dk = scale ds^T q,  dv = p^T dout
  const auto backward = [q = Saved(q), k = Saved(k), v = Saved(v), out = Saved(f.out), lse = Saved(f.lse),
                         rest = Saved(f.lse_rest), real = Saved(keys.real), lengths = Saved(keys.lengths),
                         prefix = keys.prefix, queries = Saved(options.queries.real),
                         query_lengths = Saved(options.queries.lengths),
                         options](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(out);
    const Mask same_keys = {real, lengths, prefix};
    AttentionOptions same_options = options;
    same_options.queries = {queries, query_lengths, options.queries.prefix};
    const kernels::AttentionGrads g =
        kernels::attention_grad(dout, douts[1], q, k, v, {out, lse, rest}, same_keys, same_options);
    if (grads.wanted(0)) grads.add(0, g.dq);
    if (grads.wanted(1)) grads.add(1, g.dk);
    if (grads.wanted(2)) grads.add(2, g.dv);
  };
  const std::vector<Variable> results = record("attention", {f.out, f.lse}, {q, k, v}, backward);
  return {results[0], results[1]};
}

}  // namespace subquad
