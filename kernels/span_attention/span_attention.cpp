#include "subquad/kernels/span_attention/span_attention.h"

#include <cmath>
#include <tuple>

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

// What backward reads, ready for the kernels.
struct Backward {
  Tensor dout, q, k, v;
  SpanAttentionOutput forward;
  SpanAttentionOptions options;

  Backward(const char* op, const Tensor& upstream, const Tensor& queries, const Tensor& keys, const Tensor& values,
           const Tensor& spans, const SpanAttentionOutput& results, const Mask& mask,
           const SpanAttentionOptions& given) {
    check_inputs(op, queries, keys, values, spans, mask, given);
    const Shape shape = {queries.dim(0), queries.dim(1), queries.dim(2), values.dim(3)};
    check_shape(op, "dout", upstream, shape);
    check_same_kind(op, "q", queries, "dout", upstream);
    check_shape(op, "out", results.out, shape);
    check_same_kind(op, "q", queries, "out", results.out);
    check_shape(op, "lse", results.lse, shape.without(3));
    check_same_kind(op, "q", queries, "lse", results.lse);
    dout = with_unit_stride(upstream);
    q = with_unit_stride(queries);
    k = with_unit_stride(keys);
    v = with_unit_stride(values);
    if (!queries.device().is_cpu()) {
      check_shape(op, "lse_rest", results.lse_rest, results.lse.shape());
      check_same_kind(op, "q", queries, "lse_rest", results.lse_rest);
    }
    forward = {with_unit_stride(results.out), results.lse, results.lse_rest};
    options = with_scale(given, queries.dim(3));
  }

  // Writes dk and dv, or adds to them; returns dq.
  Tensor on_cpu(const char* op, const Tensor& spans, const Mask& mask, bool adds, Tensor& dk, Tensor& dv) const {
    SpanAttentionGrads grads{empty_heads(op, q, q.dim(3)), dk, dv};
    if (spans.dim(1) > 0) {
      cpu::span_attention_grad(dout, q, k, v, spans, forward.out, mask, options, adds, grads);
    } else if (!adds) {
      fill(dk, 0);
      fill(dv, 0);
    }
    return grads.dq;
  }
};

// Positions of all spans, in every head.
double head_positions(const Shape& q, const Shape& v, const Tensor& spans) {
  return static_cast<double>(q[1]) * spanned_positions(spans, q[0], v[2]);
}

}  // namespace

SpanAttentionOutput span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                                   const Mask& mask, const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention";
  check_inputs(kOp, q, k, v, spans, mask, options);
  SpanAttentionOutput result{empty_heads(kOp, q, v.dim(3)), empty(q.shape().without(3), q.dtype(), q.device()), {}};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const SpanAttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(), [&](auto) { cpu::span_attention(q_rows, k_rows, v_rows, spans, mask, scaled, result); },
      [&](auto) {
        result.lse_rest = empty(result.lse.shape(), q.dtype(), q.device());
        cuda::span_attention(q_rows, k_rows, v_rows, spans, mask, scaled, result);
      },
      span_attention_work(q.shape(), v.shape(), spans));
  return result;
}

SpanAttentionGrads span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const Tensor& spans, const SpanAttentionOutput& forward, const Mask& mask,
                                       const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention_grad";
  const Backward in(kOp, dout, q, k, v, spans, forward, mask, options);
  SpanAttentionGrads grads{{}, empty_heads(kOp, k, k.dim(3)), empty_heads(kOp, v, v.dim(3))};
  on_device(
      q.device(), [&](auto) { grads.dq = in.on_cpu(kOp, spans, mask, false, grads.dk, grads.dv); },
      [&](auto) {
        grads.dq = empty_heads(kOp, q, q.dim(3));
        cuda::span_attention_grad(in.dout, in.q, in.k, in.v, spans, in.forward, mask, in.options, false, grads);
      },
      span_attention_grad_work(q.shape(), v.shape(), spans));
  return grads;
}

Tensor span_attention_add_grads(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                const Tensor& spans, const SpanAttentionOutput& forward, Tensor& dk, Tensor& dv,
                                const Mask& mask, const SpanAttentionOptions& options) {
  constexpr const char* kOp = "span_attention_add_grads";
  const Backward in(kOp, dout, q, k, v, spans, forward, mask, options);
  for (const auto& [name, grad, of] : {std::tuple{"dk", &dk, &k}, {"dv", &dv, &v}}) {
    check_shape(kOp, name, *grad, of->shape());
    check_same_kind(kOp, "q", q, name, *grad);
    if (grad->strides()[3] != 1) throw ShapeError(cat(kOp, ": ", name, " has rows that are not contiguous"));
  }
  Tensor dq;
  on_device(
      q.device(),
      [&](auto) {
        dq = in.on_cpu(kOp, spans, mask, true, dk, dv);
        dk.bump_version();
        dv.bump_version();
      },
      [&](auto) {
        SpanAttentionGrads grads{empty_heads(kOp, q, q.dim(3)), dk, dv};
        cuda::span_attention_grad(in.dout, in.q, in.k, in.v, spans, in.forward, mask, in.options, true, grads);
        dk.bump_version();
        dv.bump_version();
        dq = grads.dq;
      },
      span_attention_grad_work(q.shape(), v.shape(), spans));
  return dq;
}

Flops span_attention_work(const Shape& q, const Shape& v, const Tensor& spans) {
  return {2 * head_positions(q, v, spans) * static_cast<double>(q[3] + v[3])};
}

Flops span_attention_grad_work(const Shape& q, const Shape& v, const Tensor& spans) {
  return {2 * head_positions(q, v, spans) * static_cast<double>(3 * q[3] + 2 * v[3])};
}

}  // namespace subquad::kernels
