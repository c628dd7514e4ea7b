#include "subquad/examples/lra/scoring.h"

namespace subquad::lra {

std::optional<Evaluation> evaluate(Learner& learner, const Sequences& set, const BatchOptions& options,
                                   const std::function<bool(const Tally& so_far)>& go_on) {
  Evaluation result;
  result.predicted.resize(static_cast<std::size_t>(set.size()));
  result.probability.resize(result.predicted.size());
  for (const SampleNumbers& samples : sorted_batches(set, options)) {
    if (!go_on(result.tally)) return std::nullopt;
    const Learner::Prediction found = learner.predict(make_batch(set, samples, options));
    const std::vector<std::vector<double>> shares = probabilities(found.logits);
    result.tally += found.tally;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const auto sample = static_cast<std::size_t>(samples[i]);
      const std::int64_t chosen = found.classes[i];
      result.predicted[sample] = chosen;
      result.probability[sample] = chosen < 0 ? 0 : shares[i][static_cast<std::size_t>(chosen)];
    }
  }
  return result;
}

}  // namespace subquad::lra
