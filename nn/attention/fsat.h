// FSAT, our reconstruction: attention along the diagonals (lags) and columns that a pooled cross of the hidden states
// makes out to matter. Of the paper (Zhuang, Zhang, Tu 2022) we could read the abstract alone, and know of no public
// code. Certain is what the abstract says: a hidden-state cross by the FFT captures and pools the n*n combinations in
// O(n log n); from what it gives, a second part predicts which elements of the attention matrix dominate; their index
// is learnt by reparameterization and gradient truncation; the whole costs O(n log n).
//
// Ours is all the rest: the cross is a centred circular correlation, since that is how an FFT pools n*n products; what
// is predicted are whole diagonals and columns, since their means are what the softmax leaves of the simplest picture
// of a matrix of logits (rows + columns + diagonals), and since both are cheap to gather; the score heads, how many
// elements are kept, the noise, and what straight_through and `truncate` mean. Results with it are not the paper's.
//
// Per head, all indices modulo a sample's own length:
//
//   a = x Wa + ba, b = x Wb                     R channels per head; with `truncate` x passes no gradient
//   lag, col = hidden_cross(a, b)               all n*n products, pooled along diagonals and columns in O(n log n)
//   score = u f + w2 gelu(f w1 + b1)            for each lag's and each column's f; two heads of their own
//   lags = best `lags` of lag_score, |t| <= window first;   columns = best `columns` of col_score
//   out = softmax attention along lags and columns           no key twice, no N x K array
//
// The scores learn through the logits (mode): straight_through adds score - stop_gradient(score), which is 0 in value;
// bias adds the score itself. While training with gamma > 0, Gumbel noise on what is chosen by, never on a logit, lets
// keys be tried that would else get no gradient; it falls to 0 over gamma_steps steps. With as many lags or columns as
// there are positions straight_through is softmax attention itself.
//
// Dropout (attention_dropout, while training) is on the probabilities, after the softmax. `dropout` falls on what the
// module puts out, behind the output projection.
//
// A mask with padding between real tokens is compacted first: positions then are numbers of real tokens.
#pragma once

#include <array>

#include "subquad/autograd/ops/lag_column_attention.h"
#include "subquad/nn/attention/qkv_attention.h"

namespace subquad::nn {

// f [B, N, H R] -> score [B, H, N]. At first w2 is 0 and u = 1 / sqrt(R): the mean of <a_i, b_j> / sqrt(R).
class ScoreHead : public Module {
 public:
  ScoreHead(const Place& place, Index heads, Index channels, Index hidden);

  // The scores of two heads of equal sizes, each for a feature of its own: in as many launches as those of one.
  static std::array<Variable, 2> both(const ScoreHead& first, const Variable& first_feature, const ScoreHead& second,
                                      const Variable& second_feature);

 private:
  Variable u_, w1_, b1_, w2_;  // [H, R], [H, R, M], [H, M], [H, M]
};

class FsatAttention : public QkvAttention {
 public:
  FsatAttention(const Place& place, const AttentionConfig& config);

  // What it decides by: for every lag and every column, R channels of each head.       [B, N, H R]
  struct Cross {
    Variable lag, col;
  };
  Cross cross(const AttentionInput& in) const;

  // What forward decides for in.data: scores of every lag and column, and those that were chosen, in lists of
  // min(lags, N) and min(columns, N). With a mask that is not a prefix these are about the compacted sample.
  struct Decision {
    LagColumnScores scores;
    LagColumns chosen;
  };
  Decision decide(const AttentionInput& in) const { return decide(in, training()); }

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;

  // Noise [B, H, N] on the scores that one of the two choices is made by. A test gives its own.
  virtual Tensor noise(std::string_view choice, const Variable& score, const RandomState& rng) const;

 private:
  Decision decide(const AttentionInput& in, bool draws) const;
  Tensor keys(std::string_view choice, const Variable& score, const RandomState& rng, bool draws) const;
  // The stream of one use of randomness; without any an Error that names the option which asks for it.
  RandomState stream(std::string_view use, std::string_view option, double value, const RandomState& rng) const;

  FsatConfig options_;
  Linear cross_a_;
  Linear cross_b_;
  ScoreHead lag_head_;
  ScoreHead col_head_;
};

}  // namespace subquad::nn
