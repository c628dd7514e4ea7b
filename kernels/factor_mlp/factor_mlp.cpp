#include "subquad/kernels/factor_mlp/factor_mlp.h"

#include "subquad/core/check.h"
#include "subquad/kernels/factor_mlp/cpu.h"
#include "subquad/kernels/factor_mlp/cuda.h"

namespace subquad::kernels {

namespace {

void check_inputs(const char* op, const Tensor& x, const FactorMlp& mlp, const Mask& mask) {
  check_rank(op, "x", x, 3);
  check_float(op, "x", x);
  check_rank(op, "first", mlp.first, 3);
  check_rank(op, "second", mlp.second, 3);
  const Index factors = mlp.first.dim(0), inputs = x.dim(2), hidden = mlp.first.dim(2), outputs = mlp.second.dim(2);
  if (mlp.first.dim(1) != inputs || inputs < 1 || hidden < 1)
    throw ShapeError(cat(op, ": first is ", describe(mlp.first), ", expected [M, ", inputs,
                         ", H] with at least one input and H >= 1 for x ", x.shape()));
  if (mlp.second.shape() != Shape{factors, hidden, outputs} || outputs < 1)
    throw ShapeError(cat(op, ": second is ", describe(mlp.second), ", expected [", factors, ", ", hidden,
                         ", O] with O >= 1 for first ", mlp.first.shape()));
  check_shape(op, "first_bias", mlp.first_bias, {factors, hidden});
  check_shape(op, "second_bias", mlp.second_bias, {factors, outputs});
  check_alike(op, "x", x, "first", mlp.first);
  check_alike(op, "x", x, "first_bias", mlp.first_bias);
  check_alike(op, "x", x, "second", mlp.second);
  check_alike(op, "x", x, "second_bias", mlp.second_bias);
  check_mask(op, mask, x.dim(0), x.dim(1));
  if (mask.defined()) check_same_device(op, "x", x, "mask", mask.real);
}

Flops work(const Tensor& x, const FactorMlp& mlp) {  // of both layers' products
  return {2 * static_cast<double>(x.dim(0) * x.dim(1)) * static_cast<double>(mlp.first.size() + mlp.second.size())};
}

Shape out_shape(const Tensor& x, const FactorMlp& mlp) {
  return {mlp.first.dim(0), x.dim(0), x.dim(1), mlp.second.dim(2)};
}

}  // namespace

Tensor factor_mlp(const Tensor& x, const FactorMlp& mlp, const Mask& mask) {
  check_inputs("factor_mlp", x, mlp, mask);
  Tensor out = empty(out_shape(x, mlp), x.dtype(), x.device());
  on_device(
      x.device(), [&](auto) { cpu::factor_mlp(x, mlp, mask, out); }, [&](auto) { cuda::factor_mlp(x, mlp, mask, out); },
      work(x, mlp));
  return out;
}

FactorMlpGrads factor_mlp_grad(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask,
                               bool want_dx) {
  constexpr const char* kOp = "factor_mlp_grad";
  check_inputs(kOp, x, mlp, mask);
  check_shape(kOp, "dout", dout, out_shape(x, mlp));
  check_alike(kOp, "x", x, "dout", dout);
  FactorMlpGrads grads;
  if (want_dx) grads.dx = empty_like(x, kOp);
  on_device(
      x.device(), [&](auto) { cpu::factor_mlp_grad(dout, x, mlp, mask, grads.dx, grads.mlp); },
      [&](auto) { cuda::factor_mlp_grad(dout, x, mlp, mask, grads.dx, grads.mlp); }, Flops{3 * work(x, mlp).count});
  return grads;
}

}  // namespace subquad::kernels
