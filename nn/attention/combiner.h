// Combiner: attention that keeps every token in sight, most of them through summaries of whole spans. Ren et al. 2021;
// official code: layer.py (JAX), approx_attention.py (TensorFlow).
//
//   q_S, k_S = pool over the span's tokens of q, of k        p(j | S) = softmax_{j in S}(q_S . k_j / sqrt(E))
//   v_S = sum_{j in S} p(j | S) v_j                           the local expectation, made once for all queries
//
//   out_i = softmax over [q_i . k_j / sqrt(E), j direct; q_i . k_S / sqrt(E), spans S of i] applied to [v_j; v_S]
//
// Which tokens are direct and which spans a query has: kernels/block_attention. L = N / segment, P = log2 N:
//
//   pattern      summaries                         a query sees      makers see, per token   work per token
//   fixed        of segments, by `pool`            segment + L       1                       segment + L
//   logsparse    of aligned blocks of 2, 4, ...    1 + P             P - 1                   2 P
//   vertical     running maxima along columns      3 segment + L     L                       3 segment + 2 L
//   horizontal   running maxima along rows         segment + 3 L     segment                 2 segment + 3 L
//   mixture      both, in one softmax              3 (segment + L)   segment + L             4 (segment + L)
//   average      mean of vertical and horizontal   4 (segment + L)   segment + L             5 (segment + L)
//   rowmajor     of a row as each token sees it    segment + L       0                       segment + L
//
// Makers are the queries q_S. Work is in 4 N E flops (softmax attention: N), to within a few tokens, and is what the
// equations ask for: rowmajor's row, as a token sees it, is also what it sees directly (causal: its logits alone are
// shared, 1.5 segment + L). Ours makes a row twice where it is causal or attention_dropout falls on it, and on CUDA. Its
// projections (proj) take 4 N D D flops besides. mixture sees off-axis tokens twice; average is the paper's mixture.
//
// rowmajor's k_S of row r in column y, with P the attention of token (r, y) to its whole row:
//
//   none   k of the token itself                       proj        LayerNorm(merge(P v) W_o + x) W_k
//   wsum   P k                                         wsum_proj   the same of P k
//
// Padding: a padded token is in no direct set, pool or local softmax; a span without a real token does not exist;
// results at padded positions are 0. Segments are cut over positions, and `segment` comes from max_length, so that the
// amount of padding changes nothing.
//
// Dropout (attention_dropout, while training) is on p(j | S) and on direct weights, never on spans. `dropout` falls on
// what the module puts out, behind the output projection.
//
// Whose is what: causal patterns are the paper's, and so are fixed and rowmajor in both directions. horizontal's two
// spans of a row, left and right of the query's column, and mixture's one softmax are those of layer.py. Bidirectional
// logsparse, vertical, horizontal and mixture are ours: the paper's appendix could not be read.
//
// Differs from the official code: own_span, which its bidirectional TensorFlow version always has (the own segment then
// counts twice), is an option; logsparse has as many levels as N - 1 has bits (the official one is a level short for N
// = 2^m + 1); padding, and lengths that no segment divides, are taken.
#pragma once

#include <optional>

#include "subquad/nn/attention/qkv_attention.h"
#include "subquad/nn/layer_norm.h"

namespace subquad::nn {

// Error naming the option that has no legal value, or does not go with another one.
void check_combiner(const CombinerConfig& config, bool causal);

// config.segment, or for 0 the power of two next to sqrt(max_length); Error where there is neither.
Index combiner_segment(const CombinerConfig& config, Index max_length);

// What the mechanism learns, where its options ask for it.
struct CombinerLearned {
  Variable pool_q = {}, pool_k = {};  // deepset pools: [E, E], relu(q W) is pooled in place of q
  Variable x = {};                    // proj, wsum_proj: [B, N, D]
  Variable w_o = {}, w_k = {};        //   [H C, D] (wsum_proj: [H E, D]), [D, H E]
  Variable gamma = {}, beta = {};     //   [D], of the LayerNorm between
  Variable values = {};               // proj: what k_S is made of; undefined = v
  double epsilon = 1e-6;
};

struct CombinerResult {
  Variable out;                     // [B, H, N, C]; 0 at padded positions
  Variable lse;                     // [B, H, N], -inf at padded positions; undefined for average
  Variable q_span, k_span, v_span;  // fixed, logsparse: [B, H, S, .]; rowmajor, without q_span: [B, H, N, .]
};

// The mechanism without projections: q, k [B, H, N, E], v [B, H, N, C], linear in v. config.segment >= 1, and 0 for
// logsparse. With a random state attention_dropout drops.
CombinerResult combiner_attention(const Variable& q, const Variable& k, const Variable& v, const Mask& mask,
                                  const CombinerConfig& config, bool causal, const CombinerLearned& learned = {},
                                  const RandomState& random = {});

// What a query gives to tokens, and what to summaries, for study: A = direct + summaries local, rows of it sum to 1.
// S counts the summaries of all tables of kernels/block_attention, one table after the other; `average` has vertical's
// and horizontal's, each with half of its weights. Outside of any graph; memory N (N + 2 S).
struct CombinerWeights {
  Tensor direct;     // [B, H, N, N]: on tokens in sight; 0 elsewhere
  Tensor summaries;  // [B, H, N, S]: on summaries
  Tensor local;      // [B, H, S, N]: p(j | S), how a summary averages its tokens
};
CombinerWeights combiner_weights(const Variable& q, const Variable& k, const Variable& v, const Mask& mask,
                                 const CombinerConfig& config, bool causal, const CombinerLearned& learned = {});

// The same by the pattern alone, in rising numbers. A mask is [1, N].
struct CombinerSight {
  std::vector<std::vector<Index>> direct;     // [N]: the tokens that each query sees
  std::vector<std::vector<Index>> summaries;  // [N]: the summaries that it sees, 0 ... S - 1
  std::vector<std::vector<Index>> tokens;     // [S]: what stands behind each summary; rowmajor: the token's whole row
};
CombinerSight combiner_sight(const CombinerConfig& config, bool causal, Index positions, const Mask& mask = {});

class CombinerAttention : public QkvAttention {
 public:
  CombinerAttention(const Place& place, const AttentionConfig& config);

  // Those of evaluation.
  CombinerResult combined(const AttentionInput& in) const;  // what mix computes for heads.v
  CombinerWeights weights(const AttentionInput& in) const;
  CombinerSight sight(Index positions, const Mask& mask = {}) const;
  const CombinerConfig& config() const { return config_; }  // with the segment that it chose

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;

 private:
  CombinerLearned learned_of(const AttentionInput& in, const Heads& heads) const;

  CombinerConfig config_;
  bool causal_;
  CombinerLearned learned_;
};

}  // namespace subquad::nn
