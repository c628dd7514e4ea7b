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

std::array<Variable, 2> score_heads_pair(const ScoreHeadsInputs& first, const ScoreHeadsInputs& second) {
  std::vector<Variable> inputs;
  std::array<std::array<Saved, 5>, 2> saved;
  std::array<Tensor, 2> features;
  kernels::ScoreHeadsPair heads;
  for (std::size_t s = 0; s < 2; ++s) {
    const ScoreHeadsInputs& in = s == 0 ? first : second;
    features[s] = in.feature.value();
    heads[s] = {in.u.value(), in.w1.value(), in.b1.value(), in.w2.value()};
    saved[s] = {Saved(in.feature), Saved(in.u), Saved(in.w1), Saved(in.b1), Saved(in.w2)};
    inputs.insert(inputs.end(), {in.feature, in.u, in.w1, in.b1, in.w2});
  }
  const std::array<Tensor, 2> scores = kernels::score_heads_pair(features, heads);
  const std::vector<Variable> results =
      record("score_heads_pair", {scores[0], scores[1]}, inputs, [saved](std::span<const Tensor> douts, Grads& grads) {
        std::array<Tensor, 2> dscores, inner;
        kernels::ScoreHeadsPair of;
        for (std::size_t s = 0; s < 2; ++s) {
          const auto& [feature, u, w1, b1, w2] = saved[s];
          inner[s] = feature;
          of[s] = {u, w1, b1, w2};
          const Shape shape = {inner[s].dim(0), of[s].u.dim(0), inner[s].dim(1)};
          dscores[s] = douts[s].defined() ? douts[s].contiguous() : zeros(shape, inner[s].dtype(), inner[s].device());
        }
        const auto all = kernels::score_heads_pair_grad(dscores, inner, of);
        for (int s = 0; s < 2; ++s) {
          const kernels::ScoreHeadsGrads& g = all[static_cast<std::size_t>(s)];
          const Tensor* const of_inputs[] = {&g.dfeature, &g.dheads.u, &g.dheads.w1, &g.dheads.b1, &g.dheads.w2};
          for (int i = 0; i < 5; ++i)
            if (douts[static_cast<std::size_t>(s)].defined() && grads.wanted(5 * s + i))
              grads.add(5 * s + i, *of_inputs[i]);
        }
      });
  return {results[0], results[1]};
}

}  // namespace subquad
