#include "subquad/autograd/ops/lag_column_attention.h"

#include "subquad/autograd/record.h"

namespace subquad {

AttentionResult lag_column_attention(const Variable& q, const Variable& k, const Variable& v, const LagColumns& chosen,
                                     const LagColumnScores& scores, ScoreMode mode, const Mask& mask,
                                     const LagColumnOptions& options) {
  kernels::LagColumnScores added;
  if (mode == ScoreMode::bias) added = {scores.lag.value(), scores.col.value()};
  const kernels::AttentionOutput f =
      kernels::lag_column_attention(q.value(), k.value(), v.value(), chosen, added, mask, options);
  // With p = exp(s - lse) recomputed slot by slot from q, k and lse, and r drawn anew (1 without dropout):
  //   ds = p (r dout[i] v[key] - delta[i]),  dq[i] = scale sum ds k[key],  dk[key] += scale ds q[i],
  //   dv[key] += r p dout[i],  dlag[t] = sum_i ds at the slots of lag t,  dcol[j] = sum_i ds at those of column j
  const auto backward = [q = Saved(q), k = Saved(k), v = Saved(v), lags = Saved(chosen.lags),
                         columns = Saved(chosen.columns), lag = Saved(added.lag), col = Saved(added.col),
                         out = Saved(f.out), lse = Saved(f.lse), rest = Saved(f.lse_rest), real = Saved(mask.real),
                         lengths = Saved(mask.lengths), prefix = mask.prefix,
                         options](std::span<const Tensor> douts, Grads& grads) {
    const Tensor dout = douts[0].defined() ? douts[0] : zeros_like(out);
    const kernels::LagColumnGrads g = kernels::lag_column_attention_grad(
        dout, douts[1], q, k, v, {lags, columns}, {out, lse, rest}, {lag, col}, {real, lengths, prefix}, options);
    if (grads.wanted(0)) grads.add(0, g.dq);
    if (grads.wanted(1)) grads.add(1, g.dk);
    if (grads.wanted(2)) grads.add(2, g.dv);
    if (grads.wanted(3)) grads.add(3, g.dlag_score);
    if (grads.wanted(4)) grads.add(4, g.dcol_score);
  };
  const std::vector<Variable> results =
      record("lag_column_attention", {f.out, f.lse}, {q, k, v, scores.lag, scores.col}, backward);
  return {results[0], results[1]};
}

}  // namespace subquad
