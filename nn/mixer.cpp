#include "subquad/nn/mixer.h"

#include <cmath>

#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"
#include "subquad/nn/at_least.h"
#include "subquad/nn/choice.h"
#include "subquad/nn/forward_watch.h"

namespace subquad::nn {

namespace {

constexpr Choices<PaddingRow, 3> kPaddingRows = {
    {{"trained", PaddingRow::trained}, {"frozen", PaddingRow::frozen}, {"zero", PaddingRow::zero}}};

// The start of linear layers in the published code, bias included.
LinearOptions published_start(Index inputs) {
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  return {.weight = uniform_init(-bound, bound), .first_bias = uniform_init(-bound, bound)};
}

const MixerConfig& checked(const MixerConfig& config) {
  check_at_least("mixer", "outputs", config.outputs, 1);
  check_at_least("mixer", "max_length", config.max_length, 1);
  check_at_least("mixer", "width", config.width, 1);
  check_at_least("mixer", "blocks", config.blocks, 0);
  if (config.masked && config.pooling == Pooling::flatten)
    throw Error("mixer: pooling is flatten while padding is masked, expected mean or cls, or padding that is mixed");
  return config;
}

Index checked(Index features) {
  check_at_least("mixer", "features", features, 1);
  return features;
}

Index pooled_width(const MixerConfig& config) {
  return config.pooling == Pooling::flatten ? config.max_length * config.width : config.width;
}

const TokenMixerConfig& checked(const TokenMixerConfig& config) {
  check_at_least("mixer", "vocabulary", config.vocabulary, 1);
  if (!(config.embedding_bound >= 0 && std::isfinite(config.embedding_bound)))
    throw Error(cat("mixer: embedding_bound is ", config.embedding_bound, ", expected a finite number from 0 on"));
  if (config.padding_token < 0 || config.padding_token >= config.vocabulary)
    throw Error(
        cat("mixer: padding_token is ", config.padding_token, ", expected one of the ", config.vocabulary, " tokens"));
  checked(config.mixer);
  return config;
}

bool adds_cls(const TokenMixerConfig& config) {
  return config.mixer.pooling == Pooling::cls && !config.own_cls;
}

MixerConfig with_cls(const TokenMixerConfig& config) {
  MixerConfig mixer = config.mixer;
  if (adds_cls(config)) ++mixer.max_length;
  return mixer;
}

Init table_init(const TokenMixerConfig& config) {
  const Init all =
      config.embedding_bound > 0 ? uniform_init(-config.embedding_bound, config.embedding_bound) : normal_init(1);
  if (config.padding_row != PaddingRow::zero) return all;
  return [all, row = config.padding_token](Tensor& out, std::uint64_t seed, std::uint64_t stream) {
    all(out, seed, stream);
    Tensor padding = out.slice(0, row, row + 1);
    fill(padding, 0);
  };
}

}  // namespace

PaddingRow parse_padding_row(std::string_view name) {
  return choose("padding row", kPaddingRows, name);
}

std::string_view padding_row_name(PaddingRow row) {
  return name_of(kPaddingRows, row);
}

AttentionConfig attention_config(const MixerConfig& config) {
  AttentionConfig attention = config.attention;
  attention.width = config.width;
  attention.dropout = config.block_dropout;
  attention.max_length = config.max_length;
  return attention;
}

Mixer::Mixer(const Place& place, const MixerConfig& config)
    : Module(place),
      config_(checked(config)),
      positions_(child("positions"), config.positions, config.max_length, config.width, 1),
      data_dropout_(child("data_dropout"), config.dropout),
      value_dropout_(child("value_dropout"), config.dropout),
      head_(child("head"), pooled_width(config), config.outputs, published_start(pooled_width(config))) {
  for (Index i = 0; i < config.blocks; ++i)
    blocks_.push_back(make_attention(child(cat("blocks.", i)), attention_config(config)));
}

Variable Mixer::data(const Variable& embedded, const RandomState& rng) const {
  return data_dropout_(positions_(embedded), rng);
}

Variable Mixer::operator()(const Variable& embedded, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  check_rank("mixer", "embedded", embedded.value(), 3);
  check_mask("mixer", mask, embedded.dim(0), embedded.dim(1));
  const bool flatten = config_.pooling == Pooling::flatten;
  if (embedded.dim(1) > config_.max_length || (flatten && embedded.dim(1) != config_.max_length))
    throw ShapeError(cat("mixer: embedded is ", describe(embedded.value()), ", expected ", flatten ? "" : "at most ",
                         config_.max_length, " positions (max_length)"));
  ForwardWatch::tell(embedded);
  const Mask used = config_.masked ? mask : Mask();
  const Variable x = data(embedded, rng);  // [B, N, D]
  Variable values = value_dropout_(x, rng);
  for (const auto& block : blocks_) values = block->forward({.values = values, .data = x, .mask = used, .rng = rng});
  return head_(pool(values, used));
}

Variable Mixer::pool(const Variable& x, const Mask& mask) const {
  switch (config_.pooling) {
    case Pooling::mean: return pool_mean(x, mask);
    case Pooling::cls: return pool_cls(x);
    case Pooling::flatten: return pool_flatten(x, mask, config_.max_length);
  }
  throw InternalError("Mixer: pooling out of range");
}

TokenMixer::TokenMixer(const Place& place, const TokenMixerConfig& config)
    : Classifier(place),
      adds_cls_(adds_cls(checked(config))),
      tokens_(child("tokens"), config.vocabulary, config.mixer.width, table_init(config),
              config.padding_row == PaddingRow::trained ? -1 : config.padding_token),
      mixer_(child("mixer"), with_cls(config)) {
  if (adds_cls_) cls_ = parameter("cls", {config.mixer.width}, normal_init(1));
}

Variable TokenMixer::embed(const Tensor& tokens) const {
  check_rank("mixer", "tokens", tokens, 2);
  const Variable x = tokens_(tokens);  // [B, N, D]
  return adds_cls_ ? concat({expand(cls_, {x.dim(0), 1, x.dim(2)}), x}, 1) : x;
}

Variable TokenMixer::operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  return mixer_(embed(tokens), adds_cls_ ? with_leading_position(mask) : mask, rng);
}

FeatureMixer::FeatureMixer(const Place& place, Index features, const MixerConfig& config)
    : Module(place),
      embedding_(child("embedding"), checked(features), checked(config).width, published_start(features)),
      mixer_(child("mixer"), config) {}

Variable FeatureMixer::operator()(const Variable& sequence, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  return mixer_(embedding_(sequence), mask, rng);
}

}  // namespace subquad::nn
