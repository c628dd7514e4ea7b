#include "subquad/autograd/ops/score_heads.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/score_heads/score_heads.h"

namespace subquad {

Variable score_heads(const Variable& feature, const Variable& u, const Variable& w1, const Variable& b1,
                     const Variable& w2) {
  const Tensor score = kernels::score_heads(feature.value(), {u.value(), w1.value(), b1.value(), w2.value()});
  // The hidden values are computed again from the features: [B, N, H, M] is never stored.
  return record(
      "score_heads", score, {feature, u, w1, b1, w2},
      [feature = Saved(feature), u = Saved(u), w1 = Saved(w1), b1 = Saved(b1), w2 = Saved(w2)](const Tensor& dscore,
                                                                                               Grads& grads) {
        const kernels::ScoreHeadsGrads g = kernels::score_heads_grad(dscore.contiguous(), feature, {u, w1, b1, w2});
        if (grads.wanted(0)) grads.add(0, g.dfeature);
        if (grads.wanted(1)) grads.add(1, g.dheads.u);
        if (grads.wanted(2)) grads.add(2, g.dheads.w1);
        if (grads.wanted(3)) grads.add(3, g.dheads.b1);
        if (grads.wanted(4)) grads.add(4, g.dheads.w2);
      });
}

}  // namespace subquad
