#include "subquad/nn/encoder.h"

#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"
#include "subquad/kernels/increment/increment.h"
#include "subquad/nn/at_least.h"
#include "subquad/nn/choice.h"
#include "subquad/nn/forward_watch.h"

namespace subquad::nn {

namespace {

constexpr Choices<NormOrder, 2> kNormOrders = {{{"pre", NormOrder::pre}, {"post", NormOrder::post}}};

const EncoderConfig& checked(const EncoderConfig& config) {
  check_at_least("encoder", "vocabulary", config.vocabulary, 1);
  check_at_least("encoder", "max_length", config.max_length, 1);
  check_at_least("encoder", "layers", config.layers, 0);
  check_at_least("encoder", "width", config.layer.attention.width, 1);
  return config;
}

FeedForwardConfig feed_forward_config(const EncoderLayerConfig& config) {
  return {.width = config.attention.width,
          .hidden = config.hidden,
          .activation = config.activation,
          .dropout = config.dropout};
}

}  // namespace

Mask with_leading_position(const Mask& mask) {
  if (!mask.defined()) return mask;
  const Index batch = mask.real.dim(0), positions = mask.real.dim(1);
  Mask longer{full({batch, positions + 1}, 1, kBool, mask.real.device()), mask.lengths.clone(), mask.prefix};
  Tensor rest = longer.real.slice(1, 1, positions + 1);
  copy(mask.real, rest);
  kernels::increment(longer.lengths);
  return longer;
}

NormOrder parse_norm_order(std::string_view name) {
  return choose("norm", kNormOrders, name);
}

std::string_view norm_order_name(NormOrder order) {
  return name_of(kNormOrders, order);
}

EncoderLayer::EncoderLayer(const Place& place, const EncoderLayerConfig& config)
    : Module(place),
      norm_(config.norm),
      norm1_(child("norm1"), config.attention.width, config.epsilon),
      attention_(make_attention(child("attention"), config.attention)),
      norm2_(child("norm2"), config.attention.width, config.epsilon),
      feed_forward_(child("feed_forward"), feed_forward_config(config)) {}

Variable EncoderLayer::operator()(const Variable& x, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  if (norm_ == NormOrder::pre) {
    const auto [residual, normed] = norm1_.branch(x);
    const auto [sum, out] = norm2_.add(attention_->forward({normed, normed, mask, rng}), residual);
    return feed_forward_(out, rng, sum);
  }
  const Variable middle = norm1_.add(attention_->forward({x, x, mask, rng}), x).out;
  return norm2_.add(feed_forward_(middle, rng), middle).out;
}

Encoder::Encoder(const Place& place, const EncoderConfig& config)
    : Module(place),
      config_(checked(config)),
      tokens_(child("tokens"), config.vocabulary, config.layer.attention.width,
              normal_init(config.embedding_deviation)),
      positions_(child("positions"), config.positions, config.max_length + config.cls, config.layer.attention.width),
      dropout_(child("dropout"), config.embedding_dropout) {
  const Index width = config.layer.attention.width;
  if (config.cls) cls_ = parameter("cls", {width}, zeros_init());
  for (Index i = 0; i < config.layers; ++i)
    layers_.push_back(std::make_unique<EncoderLayer>(child(cat("layers.", i)), config.layer));
  if (config.layer.norm == NormOrder::pre)
    norm_ = std::make_unique<LayerNorm>(child("norm"), width, config.layer.epsilon);
}

Encoded Encoder::embed(const Tensor& tokens, const Mask& mask, const RandomState& rng) const {
  check_rank("encoder", "tokens", tokens, 2);
  check_mask("encoder", mask, tokens.dim(0), tokens.dim(1));
  if (tokens.dim(1) > config_.max_length)
    throw ShapeError(cat("encoder: tokens is ", describe(tokens), ", expected at most ", config_.max_length,
                         " positions (max_length)"));
  Variable x = tokens_(tokens);                                                // [B, N, D]
  if (config_.cls) x = concat({expand(cls_, {x.dim(0), 1, x.dim(2)}), x}, 1);  // [B, N + 1, D]
  ForwardWatch::tell(x);
  return {dropout_(positions_(x), rng), config_.cls ? with_leading_position(mask) : mask};
}

Encoded Encoder::operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const {
  const ModuleScope scope = enter();
  Encoded state = embed(tokens, mask, rng);
  for (const auto& layer : layers_) {
    const auto run = [&layer = *layer, m = state.mask, rng](const std::vector<Variable>& x) {
      return layer(x[0], m, rng);
    };
    const std::vector<Variable> inputs = {state.features};
    state.features = config_.checkpoint_layers ? checkpoint(run, inputs) : run(inputs);
  }
  if (norm_) state.features = (*norm_)(state.features);
  return state;
}

}  // namespace subquad::nn
