#include "subquad/kernels/conv1d/conv1d.h"

#include "subquad/core/check.h"
#include "subquad/kernels/conv1d/cpu.h"
#include "subquad/kernels/conv1d/cuda.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& x, const Tensor& taps, const Mask& mask) {
  check_rank(op, "x", x, 4);
  check_float(op, "x", x);
  check_rank(op, "taps", taps, 2);
  check_same_kind(op, "x", x, "taps", taps);
  check_contiguous(op, "taps", taps);
  if (taps.dim(0) != x.dim(1) || taps.dim(1) % 2 == 0)
    throw ShapeError(
        cat(op, ": taps is ", describe(taps), ", expected [", x.dim(1), ", K] = [H, K] with K odd, for x ", x.shape()));
  check_mask(op, mask, x.dim(0), x.dim(2));
  if (mask.defined()) check_same_device(op, "x", x, "mask", mask.real);
}

// Features of one head must be contiguous; rows may lie anywhere.
Tensor with_unit_stride(const Tensor& t) {
  return t.strides().back() == 1 || t.dim(-1) == 1 ? t : t.contiguous();
}

Tensor empty_heads(const char* op, const Tensor& like) {
  return empty({like.dim(0), like.dim(2), like.dim(1), like.dim(3)}, like.dtype(), like.device(), op).transpose(1, 2);
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, PaddedRows padded) {
  check_inputs("conv1d", x, taps, mask);
  if (base.defined()) {
    check_shape("conv1d", "base", base, x.shape());
    check_same_kind("conv1d", "x", x, "base", base);
  }
  Tensor out = empty_heads("conv1d", x);
  const Tensor rows = with_unit_stride(x), onto = base.defined() ? with_unit_stride(base) : base;
  on_device(
      x.device(), [&](auto) { cpu::conv1d(rows, taps, mask, onto, padded, out); },
      [&](auto) { cuda::conv1d(rows, taps, mask, onto, padded, out); },
      Flops{2 * static_cast<double>(x.size()) * static_cast<double>(taps.dim(1))});
  return out;
}

Conv1dGrads conv1d_grad(const Tensor& dout, const Tensor& x, const Tensor& taps, const Mask& mask,
                        const Conv1dGradOptions& options) {
  constexpr const char* kOp = "conv1d_grad";
  check_inputs(kOp, x, taps, mask);
  check_shape(kOp, "dout", dout, x.shape());
  check_same_kind(kOp, "x", x, "dout", dout);
  Conv1dGrads grads{empty_heads(kOp, x), empty_like(taps), {}};
  if (options.wants_dbase && options.padded == PaddedRows::zero && mask.defined()) grads.dbase = empty_heads(kOp, x);
  const Tensor upstream = with_unit_stride(dout), rows = with_unit_stride(x);
  on_device(
      x.device(), [&](auto) { cpu::conv1d_grad(upstream, rows, taps, mask, options.padded, grads); },
      [&](auto) { cuda::conv1d_grad(upstream, rows, taps, mask, options, grads); },
      Flops{4 * static_cast<double>(x.size()) * static_cast<double>(taps.dim(1))});
  if (options.taps_in_parts && grads.dtaps.rank() == 2) grads.dtaps = grads.dtaps.unsqueeze(0);
  return grads;
}

}  // namespace subquad::kernels
