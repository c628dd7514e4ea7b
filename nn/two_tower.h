// Two sequences, one label: both pass through the same encoder, and a head sees the two vectors, and between them their
// product and their difference, too.
//
//   a = pool(encoder(tokens_a)), b = pool(encoder(tokens_b))       [B, F], F = pooled_width
//   interaction:  logits = head([a, b, a * b, a - b])              [B, 4 F] -> [B, C]
//   concatenated: logits = head([a, b])                            [B, 2 F] -> [B, C]
//
// Source: the Retrieval model of Tay et al. 2021, section 2.2.3. Interaction is what the paper says, a head of two
// layers, and what Xiong et al. 2021 built, 128 features in the hidden one; concatenated is what the released code of
// Tay et al. runs, with two hidden layers, of 512 and 256 features there.
#pragma once

#include <string_view>

#include "subquad/nn/classifier.h"

namespace subquad::nn {

enum class PairFeatures { interaction, concatenated };
PairFeatures parse_pair_features(std::string_view name);  // Error for any other name
std::string_view pair_features_name(PairFeatures features);

struct TokenBatch {
  const Tensor& tokens;  // int64 [B, N]
  const Mask& mask;      // [B, N]
};

class TwoTowerClassifier : public Module {
 public:
  TwoTowerClassifier(const Place& place, const SequenceClassifierConfig& config,
                     PairFeatures features = PairFeatures::interaction);

  // Two batches of one size, each of any length: -> [B, classes]. The towers draw dropout masks of their own.
  Variable operator()(const TokenBatch& a, const TokenBatch& b, const RandomState& rng) const;

  const SequenceClassifierConfig& config() const { return config_; }
  const Encoder& encoder() const { return encoder_; }

 private:
  SequenceClassifierConfig config_;
  PairFeatures features_;
  Encoder encoder_;
  ClassifierHead head_;
};

}  // namespace subquad::nn
