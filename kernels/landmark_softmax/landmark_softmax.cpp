#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

#include "subquad/core/check.h"
#include "subquad/kernels/landmark_softmax/cpu.h"
#include "subquad/kernels/landmark_softmax/cuda.h"

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

}  // namespace subquad::kernels
