#include "subquad/kernels/gathered_attention/gathered_attention.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/gathered_attention/cpu.h"
#include "subquad/kernels/gathered_attention/cuda.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index,
                  const Tensor& bias, const Mask& keys, const GatheredAttentionOptions& options) {
  check_heads(op, q, k, v, keys, options.scale);
  check_rank(op, "index", index, 4);
  check_dtype(op, "index", index, kInt64);
  check_contiguous(op, "index", index);
  check_same_device(op, "q", q, "index", index);
  const Shape slots = q.shape().with(3, index.dim(3));
  if (index.shape() != slots)
    throw ShapeError(
        cat(op, ": index is ", describe(index), ", expected ", slots, " = [B, H, Nq, K] for q ", q.shape()));
  if (bias.defined()) {
    check_shape(op, "bias", bias, slots);
    check_same_kind(op, "q", q, "bias", bias);
    check_contiguous(op, "bias", bias);
  }
  if (index.device().is_cpu()) cpu::check_gathered_index(op, index, keys, k.dim(2), options);
}

GatheredAttentionOptions with_scale(GatheredAttentionOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

// Of logits and weighted sums; padding is counted.
Flops work(const Tensor& q, const Tensor& v, const Tensor& index) {
  return {2 * static_cast<double>(index.size()) * static_cast<double>(q.dim(3) + v.dim(3))};
}

}  // namespace

AttentionOutput gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index,
                                   const Tensor& bias, const Mask& keys, const GatheredAttentionOptions& options) {
  constexpr const char* kOp = "gathered_attention";
  check_inputs(kOp, q, k, v, index, bias, keys, options);
  const Shape rows = q.shape().without(3);
  AttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(rows, q.dtype(), q.device()),
                         empty(rows, q.dtype(), q.device())};
  const GatheredAttentionOptions scaled = with_scale(options, q.dim(3));
  const Tensor rows_q = with_unit_stride(q), rows_k = with_unit_stride(k), rows_v = with_unit_stride(v);
  on_device(
      q.device(), [&](auto) { cpu::gathered_attention(rows_q, rows_k, rows_v, index, bias, keys, scaled, result); },
      [&](auto) { cuda::gathered_attention(rows_q, rows_k, rows_v, index, bias, keys, scaled, result); },
      work(q, v, index));
  return result;
}

GatheredAttentionGrads gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                               const Tensor& v, const Tensor& index, const AttentionOutput& forward,
                                               const Tensor& bias, const Mask& keys,
                                               const GatheredAttentionOptions& options) {
  constexpr const char* kOp = "gathered_attention_grad";
  check_inputs(kOp, q, k, v, index, bias, keys, options);
  check_upstream(kOp, dout, dlse, q, v, forward);
  GatheredAttentionGrads grads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k, k.dim(3)),
                               empty_heads(kOp, v, v.dim(3)), bias.defined() ? empty_like(bias, kOp) : Tensor()};
  const AttentionOutput rows = {with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  const GatheredAttentionOptions scaled = with_scale(options, q.dim(3));
  const Tensor up = with_unit_stride(dout);
  const Tensor rows_q = with_unit_stride(q), rows_k = with_unit_stride(k), rows_v = with_unit_stride(v);
  on_device(
      q.device(),
      [&](auto) {
        cpu::gathered_attention_grad(up, dlse, rows_q, rows_k, rows_v, index, rows, bias, keys, scaled, grads);
      },
      [&](auto) {
        cuda::gathered_attention_grad(up, dlse, rows_q, rows_k, rows_v, index, rows, bias, keys, scaled, grads);
      },
      Flops{2.5 * work(q, v, index).count});
  return grads;
}

}  // namespace subquad::kernels
