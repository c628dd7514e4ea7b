#include "subquad/kernels/score_heads/score_heads.h"

#include "subquad/core/check.h"
#include "subquad/kernels/score_heads/cpu.h"
#include "subquad/kernels/score_heads/cuda.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& feature, const ScoreHeads& heads) {
  check_rank(op, "feature", feature, 3);
  check_float(op, "feature", feature);
  check_rank(op, "u", heads.u, 2);
  check_rank(op, "w1", heads.w1, 3);
  const Index count = heads.u.dim(0), channels = heads.u.dim(1), hidden = heads.w1.dim(2);
  if (count < 1 || count * channels != feature.dim(2))
    throw ShapeError(cat(op, ": u is ", describe(heads.u), ", expected [H, R] with H >= 1 and H * R = ", feature.dim(2),
                         ", the channels of feature ", feature.shape()));
  check_shape(op, "w1", heads.w1, {count, channels, hidden});
  check_shape(op, "b1", heads.b1, {count, hidden});
  check_shape(op, "w2", heads.w2, {count, hidden});
  check_alike(op, "feature", feature, "u", heads.u);
  check_alike(op, "feature", feature, "w1", heads.w1);
  check_alike(op, "feature", feature, "b1", heads.b1);
  check_alike(op, "feature", feature, "w2", heads.w2);
}

}  // namespace

Tensor score_heads(const Tensor& feature, const ScoreHeads& heads) {
  check_inputs("score_heads", feature, heads);
  Tensor score = empty({feature.dim(0), heads.u.dim(0), feature.dim(1)}, feature.dtype(), feature.device());
  on_device(
      feature.device(), [&](auto) { cpu::score_heads(feature, heads, score); },
      [&](auto) { cuda::score_heads(feature, heads, score); });
  return score;
}

ScoreHeadsGrads score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads) {
  constexpr const char* kOp = "score_heads_grad";
  check_inputs(kOp, feature, heads);
  check_shape(kOp, "dscore", dscore, {feature.dim(0), heads.u.dim(0), feature.dim(1)});
  check_alike(kOp, "feature", feature, "dscore", dscore);
  ScoreHeadsGrads grads = {empty_like(feature),
                           {empty_like(heads.u), empty_like(heads.w1), empty_like(heads.b1), empty_like(heads.w2)}};
  on_device(
      feature.device(), [&](auto) { cpu::score_heads_grad(dscore, feature, heads, grads); },
      [&](auto) { cuda::score_heads_grad(dscore, feature, heads, grads); });
  return grads;
}

}  // namespace subquad::kernels
