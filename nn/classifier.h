// From a sequence of tokens to logits: encoder, pooling, and a head of linear layers with ReLU between.
#pragma once

#include "subquad/nn/encoder.h"
#include "subquad/nn/pooling.h"

namespace subquad::nn {

// Linear - ReLU - ... - Linear: a layer for each width in `hidden`, then the logits.
struct ClassifierHeadConfig {
  Index inputs = 0;
  std::vector<Index> hidden = {};
  Index classes = 0;
};

class ClassifierHead : public Module {
 public:
  ClassifierHead(const Place& place, const ClassifierHeadConfig& config);

  Variable operator()(const Variable& x) const;  // [B, inputs] -> [B, classes]

 private:
  std::vector<std::unique_ptr<Linear>> layers_;
};

// A whole model in one struct. Defaults: the published two-layer LRA model of 64 features (Xiong et al. 2021,
// "Nystromformer", LRA experiments), where only the task's numbers are missing.
struct SequenceClassifierConfig {
  Index vocabulary = 0;
  Index classes = 0;
  Index max_length = 0;

  Index width = 64;
  Index layers = 2;
  Index hidden = 128;                        // of the feed-forward
  std::vector<Index> head_hidden = {128};    // widths of the head's hidden layers
  AttentionConfig attention = {.heads = 2};  // its width and dropout are those of this struct
  NormOrder norm = NormOrder::pre;
  kernels::Activation activation = kernels::Activation::gelu;
  PositionKind positions = PositionKind::learned;
  double embedding_deviation = 0.02;
  double dropout = 0.1;            // after the embedding, in the feed-forward
  double attention_dropout = 0.1;  // on the attention's output, whatever the attention's own drops within
  double epsilon = 1e-5;           // of the layer norms

  Pooling pooling = Pooling::mean;
  bool over_padded_length = false;  // mean divides by max_length: the published quirk

  bool checkpoint_layers = false;
};

// Those of its parts.
AttentionConfig attention_config(const SequenceClassifierConfig& config);  // with width, dropout, longest sequence
EncoderConfig encoder_config(const SequenceClassifierConfig& config);
Index pooled_width(const SequenceClassifierConfig& config);
Variable pool(const SequenceClassifierConfig& config, const Encoded& encoded);  // [B, pooled_width]

// What a trainer sees of a model.
class Classifier : public Module {
 public:
  using Module::Module;

  // tokens int64 [B, N] -> logits [B, classes]
  virtual Variable operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const = 0;
};

class SequenceClassifier : public Classifier {
 public:
  SequenceClassifier(const Place& place, const SequenceClassifierConfig& config);

  Variable operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const override;

  const SequenceClassifierConfig& config() const { return config_; }
  const Encoder& encoder() const { return encoder_; }

 private:
  SequenceClassifierConfig config_;
  Encoder encoder_;
  ClassifierHead head_;
};

}  // namespace subquad::nn
