#include "subquad/kernels/span_attention/span_attention.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/span_attention/cpu.h"
#include "subquad/kernels/span_attention/cuda.h"
#include "subquad/kernels/spans/spans.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                  const Mask& mask, const SpanAttentionOptions& options) {
  check_heads(op, q, k, v, {}, options.scale);
  check_spans(op, spans, q.dim(0));
  check_same_device(op, "q", q, "spans", spans);
  if (q.dim(2) != spans.dim(1))
    throw ShapeError(cat(op, ": q is ", describe(q), ", expected one query for each of ", spans.dim(1), " spans"));
  check_mask(op, mask, k.dim(0), k.dim(2));
  if (mask.defined()) check_same_device(op, "q", q, "mask", mask.real);
  check_dropout(op, options.dropout, options.random, "q", q);
}

SpanAttentionOptions with_scale(SpanAttentionOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

}  // namespace

SpanAttentionOutput span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                                   const Mask& mask, const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention";
  check_inputs(kOp, q, k, v, spans, mask, options);
  SpanAttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(q.shape().without(3), q.dtype(), q.device())};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const SpanAttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(), [&](auto) { cpu::span_attention(q_rows, k_rows, v_rows, spans, mask, scaled, result); },
      [&](auto) { cuda::span_attention(q_rows, k_rows, v_rows, spans, mask, scaled, result); });
  return result;
}

SpanAttentionGrads span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const Tensor& spans, const Tensor& out, const Mask& mask,
                                       const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention_grad";
  check_inputs(kOp, q, k, v, spans, mask, options);
  const Shape shape = {q.dim(0), q.dim(1), q.dim(2), v.dim(3)};
  check_shape(kOp, "dout", dout, shape);
  check_same_kind(kOp, "q", q, "dout", dout);
  check_shape(kOp, "out", out, shape);
  check_same_kind(kOp, "q", q, "out", out);
  SpanAttentionGrads grads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k, k.dim(3)), empty_heads(kOp, v, v.dim(3))};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const Tensor dout_rows = with_unit_stride(dout), out_rows = with_unit_stride(out);
  const SpanAttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(),
      [&](auto) {
        for (Tensor* grad : {&grads.dq, &grads.dk, &grads.dv}) fill(*grad, 0);
        cpu::span_attention_grad(dout_rows, q_rows, k_rows, v_rows, spans, out_rows, mask, scaled, grads);
      },
      [&](auto) {
        cuda::span_attention_grad(dout_rows, q_rows, k_rows, v_rows, spans, out_rows, mask, scaled, grads);
      });
  return grads;
}

}  // namespace subquad::kernels
