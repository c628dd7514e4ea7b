#include "subquad/kernels/attention/attention.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/cpu.h"
#include "subquad/kernels/attention/cuda.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                  const AttentionOptions& options) {
  check_rank(op, "q", q, 4);
  check_rank(op, "k", k, 4);
  check_rank(op, "v", v, 4);
  check_float(op, "q", q);
  check_same_kind(op, "q", q, "k", k);
  check_same_kind(op, "q", q, "v", v);
  const Index batch = q.dim(0), heads = q.dim(1), width = q.dim(3);
  if (width < 1) throw ShapeError(cat(op, ": q is ", describe(q), ", expected at least one feature per head"));
  const Shape k_shape = {batch, heads, k.dim(2), width};
  if (k.shape() != k_shape)
    throw ShapeError(cat(op, ": k is ", describe(k), ", expected ", k_shape, " = [B, H, Nk, E] for q ", q.shape()));
  const Shape v_shape = {batch, heads, k.dim(2), v.dim(3)};
  if (v.shape() != v_shape || v.dim(3) < 1)
    throw ShapeError(cat(op, ": v is ", describe(v), ", expected [", batch, ", ", heads, ", ", k.dim(2),
                         ", Ev >= 1] = [B, H, Nk, Ev] for k ", k.shape()));
  check_mask(op, keys, batch, k.dim(2));
  if (keys.defined()) {
    check_same_device(op, "q", q, "mask", keys.real);
    check_same_device(op, "q", q, "the mask's lengths", keys.lengths);
  }
  if (!std::isfinite(options.scale)) throw Error(cat(op, ": scale is ", options.scale, ", expected a finite number"));
}

AttentionOptions with_scale(AttentionOptions options, Index width) {
  if (options.scale == 0) options.scale = 1 / std::sqrt(static_cast<double>(width));
  return options;
}

// Features of one head must be contiguous; rows may lie anywhere.
Tensor with_unit_stride(const Tensor& t) {
  return t.strides().back() == 1 || t.dim(-1) == 1 ? t : t.contiguous();
}

// [B, H, N, width] in the memory order [B, N, H, width].
Tensor empty_heads(const char* op, const Tensor& like, Index width) {
  return empty({like.dim(0), like.dim(2), like.dim(1), width}, like.dtype(), like.device(), op).transpose(1, 2);
}

}  // namespace

AttentionOutput attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                          const AttentionOptions& options) {
  check_inputs("attention", q, k, v, keys, options);
  const Shape rows = q.shape().without(3);
  AttentionOutput result{empty_heads("attention", q, v.dim(3)), empty(rows, q.dtype(), q.device()),
                         empty(rows, q.dtype(), q.device())};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const AttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(), [&](auto) { cpu::attention(q_rows, k_rows, v_rows, keys, scaled, result); },
      [&](auto) { cuda::attention(q_rows, k_rows, v_rows, keys, scaled, result); });
  return result;
}

AttentionGrads attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                              const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options) {
  constexpr const char* kOp = "attention_grad";
  check_inputs(kOp, q, k, v, keys, options);
  const Shape out_shape = {q.dim(0), q.dim(1), q.dim(2), v.dim(3)}, lse_shape = q.shape().without(3);
  check_shape(kOp, "dout", dout, out_shape);
  check_same_kind(kOp, "q", q, "dout", dout);
  check_shape(kOp, "out", forward.out, out_shape);
  check_same_kind(kOp, "q", q, "out", forward.out);
  check_shape(kOp, "lse", forward.lse, lse_shape);
  check_same_kind(kOp, "q", q, "lse", forward.lse);
  check_shape(kOp, "lse_rest", forward.lse_rest, lse_shape);
  check_same_kind(kOp, "q", q, "lse_rest", forward.lse_rest);
  if (dlse.defined()) {
    check_shape(kOp, "dlse", dlse, lse_shape);
    check_same_kind(kOp, "q", q, "dlse", dlse);
  }
  AttentionGrads grads{empty_heads(kOp, q, q.dim(3)), empty_heads(kOp, k, k.dim(3)), empty_heads(kOp, v, v.dim(3))};
  const Tensor q_rows = with_unit_stride(q), k_rows = with_unit_stride(k), v_rows = with_unit_stride(v);
  const Tensor dout_rows = with_unit_stride(dout);
  const AttentionOutput rows = {with_unit_stride(forward.out), forward.lse, forward.lse_rest};
  const AttentionOptions scaled = with_scale(options, q.dim(3));
  on_device(
      q.device(),
      [&](auto) { cpu::attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, rows, keys, scaled, grads); },
      [&](auto) { cuda::attention_grad(dout_rows, dlse, q_rows, k_rows, v_rows, rows, keys, scaled, grads); });
  return grads;
}

}  // namespace subquad::kernels
