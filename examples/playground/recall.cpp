#include "subquad/examples/playground/recall.h"

#include <iostream>

#include "subquad/autograd/ops/shape.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/count_correct/count_correct.h"

namespace subquad::playground {

namespace {

constexpr Index kKeys = 24, kValues = 8, kWidth = 64;

nn::AttentionInput input(const Variable& x) {
  return {.values = x, .data = x, .mask = {}, .rng = {}};
}

}  // namespace

RecallBatch recall_batch(Index count, std::uint64_t number) {
  Rng rng(/*seed=*/7, number);
  RecallBatch batch{.tokens = empty({count, kKeys + 1}, kInt64, kCpu),
                    .answers = empty({count}, kInt64, kCpu),
                    .asked = empty({count}, kInt64, kCpu)};
  for (Index b = 0; b < count; ++b) {
    std::int64_t* const row = batch.tokens.data<std::int64_t>() + b * (kKeys + 1);
    for (Index i = 0; i < kKeys; ++i) {  // a shuffle that needs no second pass (Knuth, volume 2, 3.4.2, "inside out")
      const Index j = rng.below(i + 1);
      row[i] = row[j];
      row[j] = kValues * i + rng.below(kValues);
    }
    const Index asked = rng.below(kKeys);
    row[kKeys] = kValues * kKeys + row[asked] / kValues;
    batch.answers.data<std::int64_t>()[b] = row[asked] % kValues;
    batch.asked.data<std::int64_t>()[b] = asked;
  }
  return batch;
}

RecallModel::RecallModel(const AttentionMaker& make)
    : Module(nn::Place(/*seed=*/1, kFloat32, kCpu)),
      tokens_(child("tokens"), kKeys * (kValues + 1), kWidth),
      attention_(make(child("attention"), {.width = kWidth, .heads = 1, .max_length = kKeys + 1})),
      answer_(child("answer"), kWidth, kValues) {}

Variable RecallModel::operator()(const Tensor& tokens) const {
  const Variable mixed = attention_->forward(input(tokens_(tokens)));  // [B, 25, D]
  return answer_(select(mixed, 1, kKeys));
}

double RecallModel::weight_on_answer(const RecallBatch& batch) const {
  const NoGrad no_grad;
  const Tensor a = attention_->mixing_matrix(input(tokens_(batch.tokens))).contiguous();  // [B, H, 25, 25]
  const View<const float, 4> weights = a.view<const float, 4>();
  double sum = 0;
  for (Index b = 0; b < a.dim(0); ++b)
    for (Index h = 0; h < a.dim(1); ++h) sum += weights(b, h, kKeys, batch.asked.data<std::int64_t>()[b]);
  return sum / static_cast<double>(a.dim(0) * a.dim(1));
}

void RecallModel::print_progress(int step, const Variable& loss, const Variable& logits,
                                 const RecallBatch& batch) const {
  const double right = kernels::count_correct(logits.value(), batch.answers).item<std::int32_t>();
  std::cout.precision(3);
  std::cout << "step " << step << ": loss " << loss.value().item<float>() << ", right "
            << 100 * right / static_cast<double>(batch.answers.size()) << " %, weight on the answer "
            << weight_on_answer(batch) << "\n";
}

}  // namespace subquad::playground
