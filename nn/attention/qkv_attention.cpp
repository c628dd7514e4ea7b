#include "subquad/nn/attention/qkv_attention.h"

#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/ops/shape.h"

namespace subquad::nn {

QkvAttention::QkvAttention(const Place& place, const AttentionConfig& config)
    : Attention(place, config),
      query_(child("query"), width(), heads() * head_width(), {.bias = config.bias}),
      key_(child("key"), width(), heads() * head_width(), {.bias = config.bias}),
      value_(child("value"), width(), heads() * head_width(), {.bias = config.bias}),
      out_(child("out"), heads() * head_width(), width(), {.bias = config.bias}),
      dropout_(child("dropout"), config.dropout) {}

Variable QkvAttention::split(const Variable& x) const {
  return transpose(reshape(x, {x.dim(0), x.dim(1), heads(), head_width()}), 1, 2);
}

Heads QkvAttention::project(const AttentionInput& in) const {
  if (in.data.impl() != in.values.impl())
    return {.q = split(query_(in.data)), .k = split(key_(in.data)), .v = split(value_(in.values))};  // [B, H, N, E]
  const std::vector<Variable> maps = linear_group(in.data, {query_.weight(), key_.weight(), value_.weight()},
                                                  {query_.bias(), key_.bias(), value_.bias()});
  return {.q = split(maps[0]), .k = split(maps[1]), .v = split(maps[2])};
}

Variable QkvAttention::output(const AttentionInput& in, const Variable& mixed) const {
  const Index batch = mixed.dim(0), positions = mixed.dim(2);
  const Variable merged = reshape(contiguous(transpose(mixed, 1, 2)), {batch, positions, heads() * head_width()});
  return dropout_.after(out_, merged, kernels::Activation::none, in.rng);  // [B, N, D]
}

}  // namespace subquad::nn
