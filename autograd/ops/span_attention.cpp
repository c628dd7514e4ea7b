#include "subquad/autograd/ops/span_attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable span_attention(const Variable& q, const Variable& k, const Variable& v, const Tensor& spans, const Mask& mask,
                        const SpanAttentionOptions& options) {
  const kernels::SpanAttentionOutput f = kernels::span_attention(q.value(), k.value(), v.value(), spans, mask, options);
  // With p recomputed span by span: ds = p (dout v^T - dout out), dq = scale ds k, dk = scale ds^T q,
  // dv = p^T dout
  return record("span_attention", f.out, {q, k, v},
                [q = Saved(q), k = Saved(k), v = Saved(v), spans = Saved(spans), out = Saved(f.out), lse = Saved(f.lse),
                 rest = Saved(f.lse_rest), real = Saved(mask.real), lengths = Saved(mask.lengths), prefix = mask.prefix,
                 options](const Tensor& dout, Grads& grads) {
                  const kernels::SpanAttentionGrads g = kernels::span_attention_grad(
                      dout, q, k, v, spans, {out, lse, rest}, {real, lengths, prefix}, options);
                  if (grads.wanted(0)) grads.add(0, g.dq);
                  if (grads.wanted(1)) grads.add(1, g.dk);
                  if (grads.wanted(2)) grads.add(2, g.dv);
                });
}

}  // namespace subquad
