#include "subquad/autograd/ops/level_attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

LevelAttentionResult level_attention(const Variable& q, const Variable& k, const Variable& v, bool causal,
                                     const Mask& mask) {
  const kernels::LevelAttentionOutput f = kernels::level_attention(q.value(), k.value(), v.value(), causal, mask);
  // With all weights p recomputed: ds = p (dout value^T - rowsum(dout out) + dlse), dq = scale ds key, dkey = scale
  // ds^T q, dvalue = p^T dout; of a block's value the same again with its own softmax; its query's and key's gradients
  // go to the tokens that were the maxima.
  const auto backward = [q = Saved(q), k = Saved(k), v = Saved(v), summaries = Saved(f.summaries),
                         real = Saved(mask.real), lengths = Saved(mask.lengths), prefix = mask.prefix,
                         causal](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(v.get());
    const kernels::LevelAttentionGrads g =
        kernels::level_attention_grad(dout, douts[1], q, k, v, summaries, causal, {real, lengths, prefix});
    if (grads.wanted(0)) grads.add(0, g.dq);
    if (grads.wanted(1)) grads.add(1, g.dk);
    if (grads.wanted(2)) grads.add(2, g.dv);
  };
  const std::vector<Variable> results = record("level_attention", {f.out, f.lse}, {q, k, v}, backward);
  return {results[0], results[1]};
}

}  // namespace subquad
