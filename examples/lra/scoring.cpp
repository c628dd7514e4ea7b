#include "subquad/examples/lra/scoring.h"

#include <chrono>

#include "subquad/examples/lra/batch_queue.h"

namespace subquad::lra {

std::optional<Evaluation> evaluate(Learner& learner, const Sequences& set, const BatchOptions& options,
                                   const std::function<bool(const Tally& so_far)>& go_on) {
  Evaluation result;
  result.predicted.resize(static_cast<std::size_t>(set.size()));
  result.probability.resize(result.predicted.size());
  result.label_probability.resize(result.predicted.size());
  const auto begin = std::chrono::steady_clock::now();
  BatchQueue batches{EvaluationBatches(set, options)};
  while (const std::optional<MicroBatches> next = batches.next()) {
    if (!go_on(result.tally)) return std::nullopt;
    const Batch& batch = next->front();
    const std::span<const Index> samples = batch.samples.span<Index>();
    const Learner::Prediction found = learner.predict(batch);
    const std::vector<std::vector<double>> shares = probabilities(found.logits);
    result.tally += found.tally;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const auto sample = static_cast<std::size_t>(samples[i]);
      const std::int64_t chosen = found.classes[i];
      result.predicted[sample] = chosen;
      result.label_probability[sample] = shares[i][static_cast<std::size_t>(set.label(samples[i]))];
      result.probability[sample] = chosen < 0 ? 0 : shares[i][static_cast<std::size_t>(chosen)];
    }
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  result.waiting_seconds = batches.waited_seconds();
  return result;
}

}  // namespace subquad::lra
