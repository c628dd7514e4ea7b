// What is seen of a model while it answers one question: what its attentions are given, and which tokens the answer
// hangs on.
#pragma once

#include <vector>

#include "subquad/examples/lra/batches.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/nn/classifier.h"

namespace subquad::inspect {

struct LayerSight {
  const nn::Attention* attention = nullptr;  // of the model, which must live as long
  nn::AttentionInput in;                     // [1, N, D]
};

struct Sight {
  std::vector<LayerSight> layers;     // in their order
  std::vector<double> probabilities;  // of each class
  Index predicted = 0;                // the likeliest class, the first of equals
  // [N]: | d logit[predicted] / d x_i |, the Euclidean norm, with x_i row i of the embedded input before positions are
  // added.
  std::vector<double> gradient;
};

// A batch of one sample; of a pair the sequence `part`, 0 or 1. Without dropout. Error when the model has no attention,
// or its output is not finite.
Sight look(nn::Classifier& model, const lra::Batch& batch, Index part = 0);

}  // namespace subquad::inspect
