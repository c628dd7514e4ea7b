#include "subquad/kernels/layer_norm/layer_norm.h"

#include "subquad/core/check.h"
#include "subquad/kernels/layer_norm/cpu.h"
#include "subquad/kernels/layer_norm/cuda.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels {

namespace {

void check_rows(const char* op, const char* name, const Tensor& x) {
  check_float(op, name, x);
  check_contiguous(op, name, x);
  if (x.rank() == 0) throw ShapeError(cat(op, ": ", name, " is ", describe(x), ", expected at least one dimension"));
}

void check_alike_with_shape(const char* op, const Tensor& x, const char* name, const Tensor& t, const Shape& shape) {
  check_shape(op, name, t, shape);
  check_alike(op, "x", x, name, t);
}

AddLayerNorm normalise(const char* op, const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                       double eps) {
  check_alike_with_shape(op, x, "gamma", gamma, {x.dim(-1)});
  check_alike_with_shape(op, x, "beta", beta, {x.dim(-1)});
  if (!(eps > 0)) throw Error(cat(op, ": eps is ", eps, ", expected > 0"));
  const Shape rows = x.shape().without(x.rank() - 1);
  AddLayerNorm result;
  if (residual.defined()) result.sum = empty_like(x, op);
  result.out = empty_like(x, op);
  result.mean = empty(rows, x.dtype(), x.device(), op);
  result.rstd = empty(rows, x.dtype(), x.device(), op);
  on_device(
      x.device(), [&](auto) { cpu::add_layer_norm(x, residual, gamma, beta, eps, result); },
      [&](auto) { cuda::add_layer_norm(x, residual, gamma, beta, eps, result); }, op);
  return result;
}

}  // namespace

LayerNorm layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  check_rows("layer_norm", "x", x);
  AddLayerNorm result = normalise("layer_norm", x, {}, gamma, beta, eps);
  return {result.out, result.mean, result.rstd};
}

AddLayerNorm add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                            double eps) {
  check_rows("add_layer_norm", "x", x);
  check_alike_with_shape("add_layer_norm", x, "residual", residual, x.shape());
  return normalise("add_layer_norm", x, residual, gamma, beta, eps);
}

LayerNormGrads layer_norm_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                     const Tensor& rstd, const Tensor& dsum) {
  const char* op = "layer_norm_grad";
  check_rows(op, "x", x);
  const Shape rows = x.shape().without(x.rank() - 1);
  check_alike_with_shape(op, x, "dout", dout, x.shape());
  check_alike_with_shape(op, x, "gamma", gamma, {x.dim(-1)});
  check_alike_with_shape(op, x, "mean", mean, rows);
  check_alike_with_shape(op, x, "rstd", rstd, rows);
  if (dsum.defined()) check_alike_with_shape(op, x, "dsum", dsum, x.shape());

  const Index chunks = on_device(
      x.device(), [&](auto) { return (mean.size() + cpu::kRowsPerChunk - 1) / cpu::kRowsPerChunk; },
      [&](auto) { return cuda::layer_norm_chunks(mean.size()); });
  Tensor dx = empty_like(x, op);
  Tensor partial = empty({chunks, 2, x.dim(-1)}, x.dtype(), x.device(), op);
  on_device(
      x.device(), [&](auto) { cpu::layer_norm_grad(dout, x, gamma, mean, rstd, dsum, dx, partial); },
      [&](auto) { cuda::layer_norm_grad(dout, x, gamma, mean, rstd, dsum, dx, partial); }, op);
  return {dx, partial.select(1, 0), partial.select(1, 1)};
}

LayerNormGrads layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                               const Tensor& rstd, const Tensor& dsum) {
  const LayerNormGrads parts = layer_norm_grad_parts(dout, x, gamma, mean, rstd, dsum);
  return {parts.dx, sum(parts.dgamma, {0}), sum(parts.dbeta, {0})};
}

}  // namespace subquad::kernels
