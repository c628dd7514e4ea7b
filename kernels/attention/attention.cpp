#include "subquad/kernels/attention/attention.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/attention/cuda.h"

namespace subquad::kernels {
namespace {

void check_queries(const char* op, const Tensor& q, const Mask& queries) {
  if (!queries.defined()) return;
  check_mask(op, queries, q.dim(0), q.dim(2));
  check_same_device(op, "q", q, "the mask of queries", queries.real);
  check_same_device(op, "q", q, "the lengths of queries", queries.lengths);
}

AttentionOptions with_scale(AttentionOptions options, Index width) {
  options.scale = given_or_default_scale(options.scale, width);
  return options;
}

// Of logits and weighted sums; padding is counted.
Flops work(const Tensor& q, const Tensor& k, const Tensor& v) {
  return {2 * static_cast<double>(q.dim(0) * q.dim(1) * q.dim(2) * k.dim(2)) *
          static_cast<double>(q.dim(3) + v.dim(3))};
}

}  // namespace

AttentionOutput attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                          const AttentionOptions& options) {
  check_heads("attention", q, k, v, keys, options.scale);
  check_queries("attention", q, options.queries);
  const Shape rows = q.shape().without(3);
  AttentionOutput result{empty_heads("attention", q, v.dim(3)), empty(rows, q.dtype(), q.device()),
                         empty(rows, q.dtype(), q.device())};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const AttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(), [&](auto) { cpu::attention(q_rows, k_rows, v_rows, keys, scaled, result); },
      [&](auto) { cuda::attention(q_rows, k_rows, v_rows, keys, scaled, result); }, work(q, k, v));
  return result;
}

AttentionGrads attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                              const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options) {
  constexpr const char* kOp = "attention_grad";
  check_heads(kOp, q, k, v, keys, options.scale);
  check_queries(kOp, q, options.queries);
  check_upstream(kOp, dout, dlse, q, v, forward);
  const HeadGrads empty = empty_head_grads(kOp, q, k, v);
  AttentionGrads grads{empty.q, empty.k, empty.v};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const Tensor dout_rows = with_unit_stride(dout);
  const AttentionOutput rows = {with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  const AttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(),
      [&](auto) { cpu::attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, rows, keys, scaled, grads); },
      [&](auto) { cuda::attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, rows, keys, scaled, grads); },
      Flops{2.5 * work(q, k, v).count});
  return grads;
}

}  // namespace subquad::kernels
