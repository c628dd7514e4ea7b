#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

#include "subquad/core/check.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/landmark_softmax/cpu.h"
#include "subquad/kernels/landmark_softmax/cuda.h"
#include "subquad/kernels/landmark_softmax/landmark_weights.h"
#include "subquad/kernels/matmul/matmul.h"

namespace subquad::kernels {
namespace {

void check_flags(const char* op, const char* name, const Tensor& flags, const Shape& shape, const Tensor& like) {
  if (!flags.defined()) return;
  check_shape(op, name, flags, shape);
  check_dtype(op, name, flags, kBool);
  check_contiguous(op, name, flags);
  check_same_device(op, "the matrix", like, name, flags);
}

void check_matrices(const char* op, const char* name, const Tensor& x, const Tensor& counts, const Tensor& none) {
  check_rank(op, name, x, 4);
  check_float(op, name, x);
  check_contiguous(op, name, x);
  if (x.dim(2) != x.dim(3))
    throw ShapeError(cat(op, ": ", name, " is ", describe(x), ", expected square matrices [B, H, M, M]"));
  check_flags(op, "counts", counts, {x.dim(0), x.dim(2)}, x);
  check_flags(op, "none", none, {x.dim(0)}, x);
}

constexpr Index kMostInBlock = 64;  // landmarks of a head that one launch takes

void check_landmarks(const char* op, const Tensor& q, const Tensor& k) {
  check_rank(op, "q", q, 4);
  check_float(op, "q", q);
  check_shape(op, "k", k, q.shape());
  check_same_kind(op, "q", q, "k", k);
}

bool in_one_launch(const Tensor& q) {
  return !q.device().is_cpu() && q.dtype() == kFloat32 && q.dim(2) <= kMostInBlock && q.dim(3) > 0;
}

}  // namespace

Tensor landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none,
                        const LandmarkSoftmaxOptions& options) {
  check_matrices("landmark_softmax", "x", x, counts, none);
  Tensor y = empty_like(x);
  on_device(
      x.device(), [&](auto) { cpu::landmark_softmax(x, counts, none, options, y); },
      [&](auto) { cuda::landmark_softmax(x, counts, none, options, y); });
  return y;
}

Tensor landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                             const LandmarkSoftmaxOptions& options) {
  check_matrices("landmark_softmax_grad", "y", y, counts, none);
  check_shape("landmark_softmax_grad", "dout", dout, y.shape());
  check_alike("landmark_softmax_grad", "dout", dout, "y", y);
  Tensor dx = empty_like(y);
  on_device(
      y.device(), [&](auto) { cpu::landmark_softmax_grad(dout, y, counts, none, options, dx); },
      [&](auto) { cuda::landmark_softmax_grad(dout, y, counts, none, options, dx); });
  return dx;
}

Tensor landmark_weights(const Tensor& q, const Tensor& k, const Tensor& counts, const Tensor& none,
                        const LandmarkSoftmaxOptions& options) {
  check_landmarks("landmark_weights", q, k);
  if (!in_one_launch(q)) return landmark_softmax(matmul(q, k.transpose(2, 3)), counts, none, options);
  Tensor y = empty(q.shape().with(3, q.dim(2)), q.dtype(), q.device());
  check_matrices("landmark_weights", "y", y, counts, none);
  on_device(
      q.device(), [](auto) {},
      [&](auto) { cuda::landmark_weights(q.contiguous(), k.contiguous(), counts, none, options, y); });
  return y;
}

LandmarkGrads landmark_weights_grad(const Tensor& dout, const Tensor& y, const Tensor& q, const Tensor& k,
                                    const Tensor& use_of_q, const Tensor& use_of_k, const Tensor& counts,
                                    const Tensor& none, const LandmarkSoftmaxOptions& options) {
  constexpr const char* kOp = "landmark_weights_grad";
  check_landmarks(kOp, q, k);
  check_matrices(kOp, "y", y, counts, none);
  check_shape(kOp, "y", y, q.shape().with(3, q.dim(2)));
  check_same_kind(kOp, "q", q, "y", y);
  check_shape(kOp, "dout", dout, y.shape());
  check_alike(kOp, "dout", dout, "y", y);
  for (const Tensor& use : {use_of_q, use_of_k}) {
    if (!use.defined()) continue;
    check_shape(kOp, "use", use, q.shape());
    check_same_kind(kOp, "q", q, "use", use);
  }
  if (!in_one_launch(q)) {
    const Tensor dx = landmark_softmax_grad(dout, y, counts, none, options);
    LandmarkGrads grads{matmul(dx, k), matmul(dx.transpose(2, 3), q)};
    if (use_of_q.defined()) add_into(grads.dq, use_of_q);
    if (use_of_k.defined()) add_into(grads.dk, use_of_k);
    return grads;
  }
  const auto like_q = [&] { return empty(q.shape(), q.dtype(), q.device()); };
  LandmarkGrads grads{like_q(), like_q()};
  on_device(
      q.device(), [](auto) {},
      [&](auto) {
        cuda::landmark_weights_grad(dout, y, q.contiguous(), k.contiguous(), use_of_q, use_of_k, counts, none, options,
                                    grads);
      });
  return grads;
}

}  // namespace subquad::kernels
