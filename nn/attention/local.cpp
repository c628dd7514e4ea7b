#include "subquad/nn/attention/local.h"

#include "subquad/autograd/ops/block_attention.h"

namespace subquad::nn {

LocalAttention::LocalAttention(const Place& place, const AttentionConfig& config)
    : QkvAttention(place, config), window_(config.local.window), causal_(config.causal) {
  if (window_ < 0) throw Error(cat("local: window is ", window_, ", expected 0 or more"));
}

Variable LocalAttention::mix(const AttentionInput& in, const Heads& heads, const Variable& values,
                             bool /*draws*/) const {
  const BlockPattern pattern{.kind = BlockKind::window, .size = window_, .causal = causal_};
  return block_attention(heads.q, heads.k, values, {}, pattern, in.mask).out;
}

}  // namespace subquad::nn
