#include "subquad/nn/attention/softmax.h"

#include "subquad/autograd/ops/attention.h"

namespace subquad::nn {

SoftmaxAttention::SoftmaxAttention(const Place& place, const AttentionConfig& config)
    : QkvAttention(place, config), causal_(config.causal) {}

Variable SoftmaxAttention::mix(const AttentionInput& in, const Heads& heads, const Variable& values,
                               bool /*draws*/) const {
  return attention(heads.q, heads.k, values, in.mask, {.causal = causal_}).out;  // in memory [B, N, H, C]
}

}  // namespace subquad::nn
