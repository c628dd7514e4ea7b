#include "subquad/nn/classifier.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/nn/at_least.h"
#include "subquad/nn/linear.h"

namespace subquad::nn {

namespace {

ClassifierHeadConfig head_config(const SequenceClassifierConfig& config) {
  return {.inputs = pooled_width(config), .hidden = config.head_hidden, .classes = config.classes};
}

}  // namespace

AttentionConfig attention_config(const SequenceClassifierConfig& config) {
  AttentionConfig attention = config.attention;
  attention.width = config.width;
  attention.dropout = config.attention_dropout;
  attention.max_length = config.max_length + (config.pooling == Pooling::cls ? 1 : 0);
  return attention;
}

EncoderConfig encoder_config(const SequenceClassifierConfig& config) {
  return {.vocabulary = config.vocabulary,
          .max_length = config.max_length,
          .layers = config.layers,
          .layer = {.attention = attention_config(config),
                    .hidden = config.hidden,
                    .activation = config.activation,
                    .norm = config.norm,
                    .dropout = config.dropout,
                    .epsilon = config.epsilon},
          .positions = config.positions,
          .embedding_deviation = config.embedding_deviation,
          .embedding_dropout = config.dropout,
          .cls = config.pooling == Pooling::cls,
          .checkpoint_layers = config.checkpoint_layers};
}

Index pooled_width(const SequenceClassifierConfig& config) {
  return config.pooling == Pooling::flatten ? config.max_length * config.width : config.width;
}

Variable pool(const SequenceClassifierConfig& config, const Encoded& encoded) {
  switch (config.pooling) {
    case Pooling::mean:
      return pool_mean(encoded.features, encoded.mask, config.over_padded_length ? config.max_length : 0);
    case Pooling::cls: return pool_cls(encoded.features);
    case Pooling::flatten: return pool_flatten(encoded.features, encoded.mask, config.max_length);
  }
  throw InternalError("pool: pooling out of range");
}

ClassifierHead::ClassifierHead(const Place& place, const ClassifierHeadConfig& config) : Module(place) {
  check_at_least("classifier_head", "inputs", config.inputs, 1);
  check_at_least("classifier_head", "classes", config.classes, 1);
  Index inputs = config.inputs;
  const auto add = [&](Index outputs) {
    layers_.push_back(std::make_unique<Linear>(child(cat("layers.", layers_.size())), inputs, outputs));
    inputs = outputs;
  };
  for (const Index width : config.hidden) {
    check_at_least("classifier_head", "hidden", width, 1);
    add(width);
  }
  add(config.classes);
}

Variable ClassifierHead::operator()(const Variable& x) const {
  const ModuleScope scope = enter();
  Variable h = x;
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) h = relu((*layers_[i])(h));
  return (*layers_.back())(h);
}

SequenceClassifier::SequenceClassifier(const Place& place, const SequenceClassifierConfig& config)
    : Classifier(place),
      config_(config),
      encoder_(child("encoder"), encoder_config(config)),
      head_(child("head"), head_config(config)) {}

Variable SequenceClassifier::operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  return head_(pool(config_, encoder_(tokens, mask, rng)));  // [B, N] -> [B, N, D] -> [B, D] -> [B, C]
}

}  // namespace subquad::nn
