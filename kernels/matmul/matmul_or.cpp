#include "subquad/kernels/matmul/matmul_or.h"

#include <algorithm>

#include "subquad/core/check.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/cuda_or.h"
#include "subquad/kernels/matmul/matmul.h"

namespace subquad::kernels {
namespace {

constexpr Index kMostSmall = 128;  // that one launch takes

void check_factors(const char* op, const Tensor& a, const Tensor& y, const Tensor& none) {
  check_rank(op, "a", a, 4);
  check_float(op, "a", a);
  check_same_kind(op, "a", a, "y", y);
  if (a.dim(2) != a.dim(3))
    throw ShapeError(cat(op, ": a is ", describe(a), ", expected square matrices [B, H, M, M]"));
  check_rank(op, "y", y, 4);
  check_shape(op, "y", y, a.shape().with(3, y.dim(3)));
  check_shape(op, "none", none, {a.dim(0)});
  check_dtype(op, "none", none, kBool);
  check_contiguous(op, "none", none);
  check_same_device(op, "a", a, "none", none);
}

bool in_one_launch(const Tensor& a, const Tensor& y) {
  return !a.device().is_cpu() && a.dtype() == kFloat32 && std::max(a.dim(3), y.dim(3)) <= kMostSmall;
}

Tensor per_head(const Tensor& samples) {  // bool [B] -> [B, 1, 1, 1]
  return samples.reshape({samples.size(), 1, 1, 1});
}

}  // namespace

Tensor matmul_or(const Tensor& a, const Tensor& y, const Tensor& x, const Tensor& none) {
  constexpr const char* kOp = "matmul_or";
  check_factors(kOp, a, y, none);
  check_shape(kOp, "x", x, y.shape());
  check_same_kind(kOp, "a", a, "x", x);
  if (!in_one_launch(a, y)) return where(per_head(none), x, matmul(a, y));
  Tensor out = empty(y.shape(), a.dtype(), a.device());
  on_device(
      a.device(), [](auto) {}, [&](auto) { cuda::matmul_or(a, y, x, none, out); });
  return out;
}

MatmulOrGrads matmul_or_grad(const Tensor& dout, const Tensor& a, const Tensor& y, const Tensor& none) {
  constexpr const char* kOp = "matmul_or_grad";
  check_factors(kOp, a, y, none);
  check_shape(kOp, "dout", dout, y.shape());
  check_same_kind(kOp, "a", a, "dout", dout);
  if (!in_one_launch(a, y)) {
    const Tensor nothing = zeros({}, a.dtype(), a.device()), instead = per_head(none);
    return {where(instead, nothing, matmul(dout, y.transpose(2, 3))),
            where(instead, nothing, matmul(a.transpose(2, 3), dout)), where(instead, dout, nothing)};
  }
  const auto like = [](const Tensor& t) { return empty(t.shape(), t.dtype(), t.device()); };
  MatmulOrGrads grads{like(a), like(y), like(y)};
  on_device(
      a.device(), [](auto) {}, [&](auto) { cuda::matmul_or_grad(dout, a, y, none, grads); });
  return grads;
}

}  // namespace subquad::kernels
