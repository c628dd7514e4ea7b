#include "subquad/kernels/attention/arguments.h"

#include <cmath>

#include "subquad/core/check.h"
#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels {

void check_heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, double scale) {
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
  if (!std::isfinite(scale)) throw Error(cat(op, ": scale is ", scale, ", expected a finite number"));
}

void check_upstream(const char* op, const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& v,
                    const AttentionOutput& forward) {
  const Shape out_shape = {q.dim(0), q.dim(1), q.dim(2), v.dim(3)}, lse_shape = q.shape().without(3);
  check_shape(op, "dout", dout, out_shape);
  check_same_kind(op, "q", q, "dout", dout);
  check_shape(op, "out", forward.out, out_shape);
  check_same_kind(op, "q", q, "out", forward.out);
  check_shape(op, "lse", forward.lse, lse_shape);
  check_same_kind(op, "q", q, "lse", forward.lse);
  check_shape(op, "lse_rest", forward.lse_rest, lse_shape);
  check_same_kind(op, "q", q, "lse_rest", forward.lse_rest);
  if (dlse.defined()) {
    check_shape(op, "dlse", dlse, lse_shape);
    check_same_kind(op, "q", q, "dlse", dlse);
  }
}

double given_or_default_scale(double scale, Index width) {
  return scale == 0 ? 1 / std::sqrt(static_cast<double>(width)) : scale;
}

Tensor with_unit_stride(const Tensor& t) {
  return t.strides().back() == 1 || t.dim(-1) == 1 ? t : t.contiguous();
}

Tensor empty_heads(const char* op, const Tensor& like, Index width) {
  return empty({like.dim(0), like.dim(2), like.dim(1), width}, like.dtype(), like.device(), op).transpose(1, 2);
}

HeadGrads empty_head_grads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v) {
  if (q.device().is_cpu() || k.shape() != q.shape() || v.shape() != q.shape())
    return {empty_heads(op, q, q.dim(3)), empty_heads(op, k, k.dim(3)), empty_heads(op, v, v.dim(3))};
  const Tensor all = empty({q.dim(0), q.dim(2), 3, q.dim(1), q.dim(3)}, q.dtype(), q.device(), op);
  const auto heads = [&](Index s) { return all.select(2, s).transpose(1, 2); };
  return {heads(0), heads(1), heads(2)};
}

}  // namespace subquad::kernels
