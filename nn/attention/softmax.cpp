#include "subquad/nn/attention/softmax.h"

#include "subquad/autograd/ops/attention.h"
#include "subquad/autograd/ops/shape.h"

namespace subquad::nn {

SoftmaxAttention::SoftmaxAttention(const Place& place, const AttentionConfig& config)
    : Attention(place, config),
      causal_(config.causal),
      query_(child("query"), width(), heads() * head_width(), {.bias = config.bias}),
      key_(child("key"), width(), heads() * head_width(), {.bias = config.bias}),
      value_(child("value"), width(), heads() * head_width(), {.bias = config.bias}),
      out_(child("out"), heads() * head_width(), width(), {.bias = config.bias}),
      dropout_(child("dropout"), config.dropout) {}

Variable SoftmaxAttention::split(const Variable& x) const {
  return transpose(reshape(x, {x.dim(0), x.dim(1), heads(), head_width()}), 1, 2);
}

Variable SoftmaxAttention::project(const AttentionInput& in) const {
  return split(value_(in.values));  // [B, H, N, E]
}

Variable SoftmaxAttention::mix(const AttentionInput& in, const Variable& values) const {
  const Variable q = split(query_(in.data)), k = split(key_(in.data));  // [B, H, N, E]
  return attention(q, k, values, in.mask, {.causal = causal_}).out;     // [B, H, N, E], in memory [B, N, H, E]
}

Variable SoftmaxAttention::output(const AttentionInput& in, const Variable& mixed) const {
  const Index batch = mixed.dim(0), positions = mixed.dim(2);
  const Variable merged = reshape(transpose(mixed, 1, 2), {batch, positions, heads() * head_width()});  // a view
  return dropout_.after(out_.product(merged), out_.bias(), kernels::Activation::none, in.rng);          // [B, N, D]
}

}  // namespace subquad::nn
