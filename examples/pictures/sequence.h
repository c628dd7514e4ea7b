// What all pictures look at: one short sequence, and small attentions that read it.
//
// The sequence is made so that its attention matrix has what real ones are made of: neighbours are alike, tokens eight
// apart are alike, and two tokens stand out for everybody. An attention is a fresh one (seed 1) of one head, in
// float64, whose key map is a copy of its query map: like looks at like, as nothing is trained here. FSAT's cross maps
// are copies of it, too: then a fresh score is the mean logit of its diagonal or column, but for a factor and a
// constant. All kinds have the same q, k and v, as parameters are drawn by name.
#pragma once

#include <memory>

#include "subquad/nn/attention/attention.h"

namespace subquad::pictures {

inline constexpr Index kTokens = 24;
inline constexpr Index kFeatures = 16;
inline constexpr Index kQuery = 14;  // the one that pictures follow

Tensor sequence();  // [1, N, D]

std::unique_ptr<nn::Attention> small_attention(nn::AttentionConfig config);
nn::AttentionInput input();

Tensor mixing_matrix(const nn::AttentionConfig& config);  // [N, N], of small_attention(config)
Tensor softmax_matrix();

struct QueriesAndKeys {
  Tensor q, k, v;  // [1, 1, N, D]
};
QueriesAndKeys queries_and_keys();

}  // namespace subquad::pictures
