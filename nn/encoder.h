// Encoder: token embedding + positions + dropout, then layers of attention and feed-forward, then a final norm.
//
//   pre-norm    x = x + attention(norm1(x));   x = x + feed_forward(norm2(x));   final norm after the last layer
//   post-norm   x = norm1(x + attention(x));   x = norm2(x + feed_forward(x));   no final norm
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "subquad/nn/attention/attention.h"
#include "subquad/nn/embedding.h"
#include "subquad/nn/feed_forward.h"
#include "subquad/nn/layer_norm.h"
#include "subquad/nn/positions.h"

namespace subquad::nn {

enum class NormOrder { pre, post };
NormOrder parse_norm_order(std::string_view name);  // "pre", "post"
std::string_view norm_order_name(NormOrder order);

struct EncoderLayerConfig {
  AttentionConfig attention;  // its width is the layer's
  Index hidden = 0;           // of the feed-forward
  kernels::Activation activation = kernels::Activation::gelu;
  NormOrder norm = NormOrder::pre;
  double dropout = 0;  // of the feed-forward; the attention has its own
  double epsilon = 1e-5;
};

class EncoderLayer : public Module {
 public:
  EncoderLayer(const Place& place, const EncoderLayerConfig& config);

  Variable operator()(const Variable& x, const Mask& mask, const RandomState& rng) const;  // [B, N, D] -> [B, N, D]
  const Attention& attention() const { return *attention_; }

 private:
  NormOrder norm_;
  LayerNorm norm1_;
  std::unique_ptr<Attention> attention_;
  LayerNorm norm2_;
  FeedForward feed_forward_;
};

struct EncoderConfig {
  Index vocabulary = 0;
  Index max_length = 0;
  Index layers = 2;
  EncoderLayerConfig layer;
  PositionKind positions = PositionKind::learned;
  double embedding_deviation = 0.02;  // tokens start as N(0, deviation^2)
  double embedding_dropout = 0;
  bool cls = false;  // a learned vector, 0 at first, stands before the tokens: results have N + 1 positions
  bool checkpoint_layers = false;  // recompute each layer in backward instead of keeping its intermediates
};

// Results [B, N', D] and the mask that belongs to them; with `cls` both are one position longer than the tokens.
struct Encoded {
  Variable features;
  Mask mask;
};

// The mask of a sequence with one more position, a real one, in front.
Mask with_leading_position(const Mask& mask);

class Encoder : public Module {
 public:
  Encoder(const Place& place, const EncoderConfig& config);

  // tokens int64 [B, N], N <= max_length (not counting cls). Finite for any mask, also where a sample has no token.
  Encoded operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const;
  const EncoderLayer& layer(std::size_t i) const { return *layers_[i]; }
  std::size_t layers() const { return layers_.size(); }

 private:
  Encoded embed(const Tensor& tokens, const Mask& mask, const RandomState& rng) const;

  EncoderConfig config_;
  Embedding tokens_;
  Variable cls_;  // [D]
  Positions positions_;
  Dropout dropout_;
  std::vector<std::unique_ptr<EncoderLayer>> layers_;
  std::unique_ptr<LayerNorm> norm_;  // pre-norm only
};

}  // namespace subquad::nn
