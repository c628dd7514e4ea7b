// Two sequences, one label: both pass through the same encoder, and a head sees the two vectors, their product and
// their difference.
//
//   a = pool(encoder(tokens_a)), b = pool(encoder(tokens_b))       [B, F], F = pooled_width
//   logits = head([a, b, a * b, a - b])                            [B, 4 F] -> [B, C]
//
// Source: the Retrieval model of Tay et al. 2021, section 2.2.3, as Xiong et al. 2021 built it.
#pragma once

#include "subquad/nn/classifier.h"

namespace subquad::nn {

struct TokenBatch {
  const Tensor& tokens;  // int64 [B, N]
  const Mask& mask;      // [B, N]
};

class TwoTowerClassifier : public Module {
 public:
  TwoTowerClassifier(const Place& place, const SequenceClassifierConfig& config);

  // Two batches of one size, each of any length: -> [B, classes]. The towers draw dropout masks of their own.
  Variable operator()(const TokenBatch& a, const TokenBatch& b, const RandomState& rng) const;

  const SequenceClassifierConfig& config() const { return config_; }
  const Encoder& encoder() const { return encoder_; }

 private:
  SequenceClassifierConfig config_;
  Encoder encoder_;
  ClassifierHead head_;
};

}  // namespace subquad::nn
