#include "subquad/autograd/ops/gathered_attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

AttentionResult gathered_attention(const Variable& q, const Variable& k, const Variable& v, const Tensor& index,
                                   const Variable& bias, const Mask& keys, const GatheredAttentionOptions& options) {
  const Tensor bias_value = bias.defined() ? bias.value() : Tensor();
  const kernels::AttentionOutput f =
      kernels::gathered_attention(q.value(), k.value(), v.value(), index, bias_value, keys, options);
  // With p = exp(s - lse) of the live slots, j the key of slot t:
  //   ds[i, t] = p (dout[i] v[j] - delta[i]),  dbias = ds,  dq[i] = scale sum_t ds k[j],  dk[j] = scale sum ds q[i],
  //   dv[j] = sum p dout[i]
  const auto backward = [q = Saved(q), k = Saved(k), v = Saved(v), index = Saved(index), bias = Saved(bias_value),
                         out = Saved(f.out), lse = Saved(f.lse), rest = Saved(f.lse_rest), real = Saved(keys.real),
                         lengths = Saved(keys.lengths), prefix = keys.prefix,
                         options](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(out);
    const Mask same_keys = {real, lengths, prefix};
    const kernels::GatheredAttentionGrads g =
        kernels::gathered_attention_grad(dout, douts[1], q, k, v, index, {out, lse, rest}, bias, same_keys, options);
    if (grads.wanted(0)) grads.add(0, g.dq);
    if (grads.wanted(1)) grads.add(1, g.dk);
    if (grads.wanted(2)) grads.add(2, g.dv);
    if (grads.wanted(3)) grads.add(3, g.dbias);
  };
  const std::vector<Variable> results = record("gathered_attention", {f.out, f.lse}, {q, k, v, bias}, backward);
  return {results[0], results[1]};
}

}  // namespace subquad
