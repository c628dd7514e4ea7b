#include "subquad/kernels/score_heads/score_heads.h"

#include <span>

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

void check_dscore(const char* op, const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads) {
  check_shape(op, "dscore", dscore, {feature.dim(0), heads.u.dim(0), feature.dim(1)});
  check_alike(op, "feature", feature, "dscore", dscore);
}

void check_pair(const char* op, const std::array<Tensor, 2>& features, const ScoreHeadsPair& heads) {
  for (std::size_t s = 0; s < 2; ++s) check_inputs(op, features[s], heads[s]);
  check_shape(op, "the second feature", features[1], features[0].shape());
  check_shape(op, "the second w1", heads[1].w1, heads[0].w1.shape());
  check_alike(op, "feature", features[0], "the second feature", features[1]);
}

Tensor empty_score(const Tensor& feature, const ScoreHeads& heads) {
  return empty({feature.dim(0), heads.u.dim(0), feature.dim(1)}, feature.dtype(), feature.device(), "score_heads");
}
ScoreHeadsGrads empty_grads(const Tensor& feature, const ScoreHeads& heads) {
  return {empty_like(feature), {empty_like(heads.u), empty_like(heads.w1), empty_like(heads.b1), empty_like(heads.w2)}};
}

// Of one set; a forward pass.
double set_flops(const Tensor& feature, const ScoreHeads& heads) {
  const double rows = static_cast<double>(feature.dim(0) * feature.dim(1));
  return rows * 2 * static_cast<double>(2 * heads.w1.size() + heads.w2.size() + heads.u.size());
}

// One or two sets.
void run(std::span<const Tensor> features, std::span<const ScoreHeads> heads, std::span<Tensor> scores) {
  on_device(
      features[0].device(),
      [&](auto) {
        for (std::size_t s = 0; s < features.size(); ++s) cpu::score_heads(features[s], heads[s], scores[s]);
      },
      [&](auto) { cuda::score_heads(features, heads, scores); },
      Flops{static_cast<double>(features.size()) * set_flops(features[0], heads[0])}, "score_heads");
}
void run_grad(std::span<const Tensor> dscores, std::span<const Tensor> features, std::span<const ScoreHeads> heads,
              std::span<ScoreHeadsGrads> grads) {
  on_device(
      features[0].device(),
      [&](auto) {
        for (std::size_t s = 0; s < features.size(); ++s)
          cpu::score_heads_grad(dscores[s], features[s], heads[s], grads[s]);
      },
      [&](auto) { cuda::score_heads_grad(dscores, features, heads, grads); },
      Flops{3 * static_cast<double>(features.size()) * set_flops(features[0], heads[0])}, "score_heads_grad");
}

}  // namespace

Tensor score_heads(const Tensor& feature, const ScoreHeads& heads) {
  check_inputs("score_heads", feature, heads);
  Tensor score = empty_score(feature, heads);
  run({&feature, 1}, {&heads, 1}, {&score, 1});
  return score;
}

ScoreHeadsGrads score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads) {
  constexpr const char* kOp = "score_heads_grad";
  check_inputs(kOp, feature, heads);
  check_dscore(kOp, dscore, feature, heads);
  ScoreHeadsGrads grads = empty_grads(feature, heads);
  run_grad({&dscore, 1}, {&feature, 1}, {&heads, 1}, {&grads, 1});
  return grads;
}

std::array<Tensor, 2> score_heads_pair(const std::array<Tensor, 2>& features, const ScoreHeadsPair& heads) {
  check_pair("score_heads_pair", features, heads);
  std::array<Tensor, 2> scores = {empty_score(features[0], heads[0]), empty_score(features[1], heads[1])};
  run(features, heads, scores);
  return scores;
}

std::array<ScoreHeadsGrads, 2> score_heads_pair_grad(const std::array<Tensor, 2>& dscores,
                                                     const std::array<Tensor, 2>& features,
                                                     const ScoreHeadsPair& heads) {
  constexpr const char* kOp = "score_heads_pair_grad";
  check_pair(kOp, features, heads);
  for (std::size_t s = 0; s < 2; ++s) check_dscore(kOp, dscores[s], features[s], heads[s]);
  std::array<ScoreHeadsGrads, 2> grads = {empty_grads(features[0], heads[0]), empty_grads(features[1], heads[1])};
  run_grad(dscores, features, heads, grads);
  return grads;
}

}  // namespace subquad::kernels
