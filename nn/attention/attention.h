// Attention: what every attention module looks like from outside.
//
//   forward(in) = output(mix(in, heads, heads.v)) with heads = project(in)
//
//   project   q, k, v [B, H, N, E]   from in.data and in.values
//   mix       A V     [B, H, N, C]   the mechanism; A comes from heads and in.data, and goes to any V [B, H, N, C]
//   output            [B, N, D]      merged heads, output projection, dropout
//
// The three steps are one formula for training and for pictures: mixing_matrix feeds identity columns to mix as V.
#pragma once

#include <memory>
#include <string>

#include "subquad/core/mask.h"
#include "subquad/core/rng.h"
#include "subquad/nn/attention/config.h"
#include "subquad/nn/attention/matrix_of.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

struct AttentionInput {
  Variable values;  // [B, N, D]: what is mixed
  Variable data;    // [B, N, D]: what decides how; the same as values for all but Paramixer
  Mask mask;        // [B, N], undefined = every position is real
  RandomState rng;  // needed while training with dropout
};

struct Heads {
  Variable q, k;  // [B, H, N, E]; undefined in a mechanism that has none
  Variable v;     // [B, H, N, E]
};

class Attention : public Module {
 public:
  Attention(const Place& place, const AttentionConfig& config);  // Error naming the member whose size does not fit

  // [B, N, D]. Real positions do not depend on what finite values stand at padded ones, and padded positions get no
  // gradient; what comes out at padded positions is finite and otherwise unspecified.
  Variable forward(const AttentionInput& in) const;

  // A [B, H, N, N] with mix = A V: row i holds what position i makes of all others. That of evaluation, without dropout
  // and noise also while training, and outside any graph. Costs N / E forwards of mix.
  Tensor mixing_matrix(const AttentionInput& in) const;

  Index width() const { return width_; }
  Index heads() const { return heads_; }
  Index head_width() const { return head_width_; }

  // The three steps. k and v of padded positions are finite and otherwise unspecified.
  virtual Heads project(const AttentionInput& in) const = 0;
  // Dropout and noise, drawn from in.rng, only where `draws`: forward's training().
  virtual Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const = 0;
  virtual Variable output(const AttentionInput& in, const Variable& mixed) const = 0;

 protected:
  MatrixInputs matrix_inputs(const AttentionInput& in) const;  // for pictures of parts of mix

 private:
  void check(const AttentionInput& in) const;

  Index width_;
  Index heads_;
  Index head_width_;
};

// Error "make_attention: kind: 'x', expected one of softmax, ..." for an unknown kind, and the mechanism's own
// Error, which says what is legal, for a config that it cannot take.
std::unique_ptr<Attention> make_attention(const Place& place, const AttentionConfig& config);
std::vector<std::string> attention_kinds();

}  // namespace subquad::nn
