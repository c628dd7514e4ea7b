#include "subquad/kernels/dense/dense.h"

#include "subquad/core/check.h"
#include "subquad/kernels/bias_act_dropout/cpu.h"
#include "subquad/kernels/dense/cpu.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/linear/rows.h"

namespace subquad::kernels {

namespace {

void check_inputs(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const DenseOptions& options) {
  check_float(op, "x", x);
  check_linear_input(op, "x", x);
  check_linear_map(op, x, weight, bias);
  if (options.p > 0 && x.rank() < 2)
    throw ShapeError(cat(op, ": x is ", describe(x), ", expected [B, ..., I] for dropout"));
  check_dropout(op, options.p, options.rng, "x", x);
}

// Of x, and of what has its rows.
Index positions_of(const Tensor& x) {
  return x.dim(-1) == 0 || x.size() == 0 ? 0 : x.size() / x.dim(-1) / (x.rank() > 1 ? x.dim(0) : 1);
}

Flops product_work(const Tensor& x, const Tensor& weight, double products) {
  return {products * 2 * static_cast<double>(x.size()) * static_cast<double>(weight.dim(1))};
}

Dense on_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& options,
             const Tensor& residual, bool for_backward) {
  const Tensor rows = as_rows(x);
  const Shape shape = {rows.dim(0), weight.dim(1)};
  Tensor out = empty(shape, x.dtype(), x.device(), "dense"), product, kept;
  if (for_backward && options.activation != Activation::none) product = empty(shape, x.dtype(), x.device(), "dense");
  if (for_backward && options.p > 0)
    kept = empty({shape[0], cpu::KeptBits::row_bytes_of(shape[1])}, kUInt8, x.device(), "dense");
  const Tensor more = residual.defined() ? as_rows(residual) : Tensor();
  cpu::dense(rows, weight, bias, options, more, positions_of(x), product, out, kept);
  const Shape whole = x.shape().with(x.rank() - 1, weight.dim(1));
  return {out.reshape(whole), product.defined() ? product.reshape(whole) : Tensor(), {kept}};
}

DenseGrads grads_on_cpu(const Tensor& dout, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const DenseOptions& options, const Dense& forward, bool want_dx, bool want_dweight) {
  constexpr const char* kOp = "dense_grad_parts";
  const Tensor rows = as_rows(x);
  const auto made = [&](const Shape& shape) { return empty(shape, x.dtype(), x.device(), kOp); };
  const cpu::DenseBlocks blocks(rows.dim(0), weight);
  const Index chunks = (rows.dim(0) + cpu::kRowsPerChunk - 1) / cpu::kRowsPerChunk;
  DenseGrads grads;
  if (want_dx) grads.dx = made(rows.shape());
  if (want_dweight) grads.dweight = made(weight.shape().inserted(0, blocks.groups()));
  if (bias.defined()) grads.dbias = made({chunks, weight.dim(1)});
  const Tensor product = forward.product.defined() ? as_rows(forward.product) : Tensor();
  cpu::dense_grad(as_rows(dout), rows, weight, bias, options, {{}, product, forward.mask}, positions_of(x), grads);
  if (want_dx) grads.dx = grads.dx.reshape(x.shape());
  return grads;
}

}  // namespace

Dense dense(const Tensor& x, const Tensor& weight, const Tensor& bias, const DenseOptions& options,
            const Tensor& residual, bool for_backward) {
  check_inputs("dense", x, weight, bias, options);
  const auto in_two_passes = [&](auto) {
    Dense result;
    const Tensor product = linear(x, weight, {});
    result.out = bias_act_dropout(product, bias, options.activation, options.p, options.rng, residual,
                                  for_backward ? &result.mask : nullptr);
    if (for_backward && options.activation != Activation::none) result.product = product;
    return result;
  };
  if (residual.defined()) {
    check_shape("dense", "residual", residual, x.shape().with(x.rank() - 1, weight.dim(1)));
    check_alike("dense", "weight", weight, "residual", residual);
  }
  if (x.size() == 0 || weight.size() == 0) return in_two_passes(0);
  return on_device(
      x.device(), [&](auto) { return on_cpu(x, weight, bias, options, residual, for_backward); }, in_two_passes,
      product_work(x, weight, 1));
}

DenseGrads dense_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const DenseOptions& options, const Dense& forward, bool want_dx, bool want_dweight) {
  constexpr const char* kOp = "dense_grad_parts";
  check_inputs(kOp, x, weight, bias, options);
  check_shape(kOp, "dout", dout, x.shape().with(x.rank() - 1, weight.dim(1)));
  check_same_kind(kOp, "x", x, "dout", dout);
  check_contiguous(kOp, "dout", dout);
  if (options.activation != Activation::none) check_shape(kOp, "product", forward.product, dout.shape());
  const auto in_passes = [&](auto) {
    const BiasActDropoutGrads z =
        bias_act_dropout_grad_parts(dout, forward.product.defined() ? forward.product : dout, bias, options.activation,
                                    options.p, options.rng, forward.mask);
    DenseGrads grads;
    if (want_dx) grads.dx = linear(z.dx, weight.transpose(0, 1), {});
    if (want_dweight) grads.dweight = linear_grad_weight(z.dx, x).unsqueeze(0);
    grads.dbias = z.dbias;
    return grads;
  };
  if (x.size() == 0 || weight.size() == 0) return in_passes(0);
  return on_device(
      x.device(), [&](auto) { return grads_on_cpu(dout, x, weight, bias, options, forward, want_dx, want_dweight); },
      in_passes, product_work(x, weight, static_cast<double>(want_dx) + static_cast<double>(want_dweight)), kOp);
}

}  // namespace subquad::kernels
