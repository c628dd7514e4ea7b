// The whole models of the Paramixer paper: blocks of attention without norm, feed-forward or residual around them.
// Every block decides by the same data X; only the values travel from block to block.
//
//   X = dropout(embedded + positions)       [B, N, D]
//   U = dropout(X)                          another mask: the first values are dropped twice
//   U = dropout'(block_l(values U, data X)) for each block l; dropout' is the attention's own
//   out = head(pool(U))                     one linear layer: from [B, N D] (flatten) or [B, D] (mean, cls)
//
// Mixer is this; TokenMixer embeds tokens for it, FeatureMixer real numbers (Adding problem).
//
// Source: Yu et al. 2022, class Paramixer of LRA/paramixer.py in their code; first values as there: linear layers
// U(-a, a) with a = 1 / sqrt(inputs), tables N(0, 1).
// Differs from the published code: padding is left out of everything (`masked`), where theirs is mixed like any token.
#pragma once

#include <memory>
#include <vector>

#include "subquad/nn/attention/attention.h"
#include "subquad/nn/classifier.h"
#include "subquad/nn/embedding.h"
#include "subquad/nn/linear.h"
#include "subquad/nn/pooling.h"
#include "subquad/nn/positions.h"

namespace subquad::nn {

struct MixerConfig {
  Index outputs = 0;
  Index max_length = 0;  // flatten: the length of every sequence
  Index width = 32;
  Index blocks = 1;
  AttentionConfig attention = {.kind = "paramixer"};  // its width, dropout and max_length are those of this struct
  PositionKind positions = PositionKind::learned;
  double dropout = 0;        // on X, and once more on the first values
  double block_dropout = 0;  // on what comes out of each block
  Pooling pooling = Pooling::mean;
  bool masked = true;  // false: padding is mixed as any token is, as published; needed by flatten
};

AttentionConfig attention_config(const MixerConfig& config);  // of its blocks

class Mixer : public Module {
 public:
  Mixer(const Place& place, const MixerConfig& config);  // Error naming the option that does not go with another one

  // embedded [B, N, D], N <= max_length -> [B, outputs]. With flatten and without masking the result depends on N, and
  // any other N than max_length is a ShapeError.
  Variable operator()(const Variable& embedded, const Mask& mask, const RandomState& rng) const;

  Variable data(const Variable& embedded, const RandomState& rng) const;  // X
  const Attention& block(std::size_t i) const { return *blocks_[i]; }
  const Linear& head() const { return head_; }

 private:
  Variable pool(const Variable& x, const Mask& mask) const;

  MixerConfig config_;
  Positions positions_;
  Dropout data_dropout_;
  Dropout value_dropout_;
  std::vector<std::unique_ptr<Attention>> blocks_;
  Linear head_;
};

// What becomes of the table's row for padding. It matters where padding is mixed: a frozen row gets no gradient.
enum class PaddingRow { trained, frozen, zero };      // zero: frozen at 0
PaddingRow parse_padding_row(std::string_view name);  // Error lists the legal names
std::string_view padding_row_name(PaddingRow row);

struct TokenMixerConfig {
  Index vocabulary = 0;
  MixerConfig mixer = {};      // with pooling cls a learned vector stands before the tokens, unless they have their own
  bool own_cls = false;        // the tokens come with a cls token in front
  double embedding_bound = 0;  // the table starts as U(-bound, bound); 0: N(0, 1)
  PaddingRow padding_row = PaddingRow::trained;
  Index padding_token = 0;
};

class TokenMixer : public Classifier {
 public:
  TokenMixer(const Place& place, const TokenMixerConfig& config);

  Variable operator()(const Tensor& tokens, const Mask& mask, const RandomState& rng) const override;
  Variable embed(const Tensor& tokens) const;  // [B, N, D], one position more with a cls of the model's
  const Mixer& mixer() const { return mixer_; }

 private:
  bool adds_cls_;
  Embedding tokens_;
  Variable cls_;  // [D]
  Mixer mixer_;
};

class FeatureMixer : public Module {
 public:
  FeatureMixer(const Place& place, Index features, const MixerConfig& config);

  Variable operator()(const Variable& sequence, const Mask& mask, const RandomState& rng) const;  // [B, N, features]
  const Linear& embedding() const { return embedding_; }
  const Mixer& mixer() const { return mixer_; }

 private:
  Linear embedding_;
  Mixer mixer_;
};

}  // namespace subquad::nn
