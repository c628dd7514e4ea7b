// Counting what a model gets right.
#pragma once

#include <map>
#include <vector>

#include "subquad/examples/lra/batches.h"

namespace subquad::lra {

struct Tally {
  double loss = 0;  // summed over samples
  Index correct = 0;
  Index samples = 0;

  double mean_loss() const { return samples == 0 ? 0 : loss / static_cast<double>(samples); }
  double accuracy() const { return samples == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(samples); }

  Tally& operator+=(const Tally& more);
  friend bool operator==(const Tally&, const Tally&) = default;
};

// The class with the largest logit of each row, the first of equals; -1, which is never right, for a row with a NaN.
// logits: float32 [B, C] on the CPU.
std::vector<std::int64_t> predictions(const Tensor& logits);

// Softmax of each row, computed in float64; a row with a NaN, or with an infinity, has zeros.
std::vector<std::vector<double>> probabilities(const Tensor& logits);

// One batch whose loss is known.
Tally tally(double mean_loss, const std::vector<std::int64_t>& predicted, const Batch& batch);

// A whole set, every sample once.
struct Evaluation {
  Tally tally;
  std::vector<std::int64_t> predicted;  // by sample number
  std::vector<double> probability;      // that the model gives to it; 0 where a logit is not finite, as below
  std::vector<double> label_probability;
  double seconds = 0;          // that it took
  double waiting_seconds = 0;  // of them, for batches
};

// How often each class was predicted for each label: [classes, classes + 1], a row a label; the last column counts
// samples without a prediction.
std::vector<std::vector<Index>> confusion_counts(const Sequences& set, const std::vector<std::int64_t>& predicted,
                                                 Index classes);

// Of the samples that begin with each token, how many were predicted right (and no loss).
std::map<Token, Tally> tally_by_first_token(const Sequences& set, const std::vector<std::int64_t>& predicted);

}  // namespace subquad::lra
