#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

#include "subquad/core/check.h"
#include "subquad/kernels/bias_act_dropout/cpu.h"
#include "subquad/kernels/bias_act_dropout/cuda.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels {

namespace {

void check_arguments(const char* op, const Tensor& x, const Tensor& bias, double p, const RandomState& rng) {
  check_float(op, "x", x);
  check_contiguous(op, "x", x);
  if (x.rank() == 0) throw ShapeError(cat(op, ": x is ", describe(x), ", expected at least one dimension"));
  if (bias.defined()) {
    check_shape(op, "bias", bias, {x.dim(-1)});
    check_alike(op, "x", x, "bias", bias);
  }
  if (p > 0 && x.rank() < 2) throw ShapeError(cat(op, ": x is ", describe(x), ", expected [B, ..., D] for dropout"));
  check_dropout(op, p, rng, "x", x);
}

cpu::RowPlace all_rows(const Tensor& x) {
  return {0, x.size() == 0 ? 0 : x.size() / x.dim(-1) / (x.rank() > 1 ? x.dim(0) : 1)};
}

// Of the bits that the CPU keeps.
Shape kept_shape(const Tensor& x) {
  return {x.shape().without(x.rank() - 1).size(), cpu::KeptBits::row_bytes_of(x.dim(-1))};
}

}  // namespace

Tensor bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                        const Tensor& residual, KeptMask* mask) {
  check_arguments("bias_act_dropout", x, bias, p, rng);
  if (residual.defined()) {
    check_shape("bias_act_dropout", "residual", residual, x.shape());
    check_alike("bias_act_dropout", "x", x, "residual", residual);
  }
  Tensor out = empty_like(x);
  on_device(
      x.device(),
      [&](auto) {
        if (mask != nullptr && p > 0 && x.size() > 0) mask->bits = empty(kept_shape(x), kUInt8, x.device());
        cpu::bias_act_dropout(x, bias, activation, p, rng, all_rows(x), residual, out,
                              mask != nullptr ? mask->bits : Tensor());
      },
      [&](auto) { cuda::bias_act_dropout(x, bias, activation, p, rng, residual, out); });
  return out;
}

BiasActDropoutGrads bias_act_dropout_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                                Activation activation, double p, const RandomState& rng,
                                                const KeptMask& mask) {
  const char* op = "bias_act_dropout_grad";
  check_arguments(op, x, bias, p, rng);
  if (mask.bits.defined()) check_shape(op, "mask", mask.bits, kept_shape(x));
  check_shape(op, "dout", dout, x.shape());
  check_alike(op, "x", x, "dout", dout);
  Tensor dx = empty_like(x, op), partial;
  if (bias.defined()) {
    const Index rows = x.shape().without(x.rank() - 1).size();
    const Index chunks = on_device(
        x.device(), [&](auto) { return (rows + cpu::kRowsPerChunk - 1) / cpu::kRowsPerChunk; },
        [&](auto) { return cuda::bias_act_dropout_chunks(rows, x.dim(-1)); });
    partial = empty({chunks, x.dim(-1)}, x.dtype(), x.device(), op);
  }
  on_device(
      x.device(),
      [&](auto) { cpu::bias_act_dropout_grad(dout, x, bias, activation, p, rng, all_rows(x), mask.bits, dx, partial); },
      [&](auto) { cuda::bias_act_dropout_grad(dout, x, bias, activation, p, rng, dx, partial); }, op);
  return {dx, partial};
}

BiasActDropoutGrads bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                          Activation activation, double p, const RandomState& rng,
                                          const KeptMask& mask) {
  const BiasActDropoutGrads parts = bias_act_dropout_grad_parts(dout, x, bias, activation, p, rng, mask);
  return {parts.dx, bias.defined() ? sum(parts.dbias, {0}) : Tensor()};
}

}  // namespace subquad::kernels
