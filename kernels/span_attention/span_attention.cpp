#include "subquad/kernels/span_attention/span_attention.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/span_attention/cpu.h"
#include "subquad/kernels/spans/spans.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                  const Mask& mask, const SpanAttentionOptions& options) {
  check_heads(op, q, k, v, {}, options.scale);
  check_on_cpu(op, "q", q);
  check_spans(op, spans, q.dim(0));
  if (q.dim(2) != spans.dim(1))
    throw ShapeError(cat(op, ": q is ", describe(q), ", expected one query for each of ", spans.dim(1), " spans"));
  check_mask(op, mask, k.dim(0), k.dim(2));
  check_dropout(op, options.dropout, options.random, "q", q);
}

SpanAttentionOptions with_scale(SpanAttentionOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

Tensor zero_heads(const char* op, const Tensor& like, Index width) {
  Tensor heads = empty_heads(op, like, width);
  fill(heads, 0);
  return heads;
}

}  // namespace

SpanAttentionOutput span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                                   const Mask& mask, const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention";
  check_inputs(kOp, q, k, v, spans, mask, options);
  SpanAttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(q.shape().without(3), q.dtype(), q.device())};
  cpu::span_attention(with_unit_stride(q), with_unit_stride(k), with_unit_stride(v), spans, mask,
                      with_scale(options, q.dim(3)), result);
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
  SpanAttentionGrads grads{zero_heads(kOp, q, q.dim(3)), zero_heads(kOp, k, k.dim(3)), zero_heads(kOp, v, v.dim(3))};
  cpu::span_attention_grad(with_unit_stride(dout), with_unit_stride(q), with_unit_stride(k), with_unit_stride(v), spans,
                           with_unit_stride(out), mask, with_scale(options, q.dim(3)), grads);
  return grads;
}

}  // namespace subquad::kernels
