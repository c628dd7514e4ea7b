#include "subquad/kernels/segment_mean/segment_mean.h"

#include "subquad/core/check.h"
#include "subquad/kernels/segment_mean/cpu.h"
#include "subquad/kernels/segment_mean/cuda.h"
#include "subquad/kernels/segments/segments.h"

namespace subquad::kernels {
namespace {

void check_cut(const char* op, const char* name, const Tensor& t, const Tensor& starts, Index positions,
               const Mask& mask) {
  check_same_device(op, name, t, "starts", starts);
  check_segments(op, starts, t.dim(0), positions);
  check_mask(op, mask, t.dim(0), positions);
  if (mask.defined()) check_same_device(op, name, t, "mask", mask.real);
}

}  // namespace

Tensor segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor) {
  constexpr const char* kOp = "segment_mean";
  check_rank(kOp, "x", x, 4);
  check_float(kOp, "x", x);
  check_cut(kOp, "x", x, starts, x.dim(2), mask);
  Tensor out = empty({x.dim(0), x.dim(1), starts.dim(1) - 1, x.dim(3)}, x.dtype(), x.device());
  const Tensor rows = x.strides().back() == 1 || x.dim(3) == 1 ? x : x.contiguous();
  on_device(
      x.device(), [&](auto) { cpu::segment_mean(rows, starts, mask, divisor, out); },
      [&](auto) { cuda::segment_mean(rows, starts, mask, divisor, out); });
  return out;
}

Tensor segment_mean_grad(const Tensor& dout, const Tensor& starts, Index positions, const Mask& mask,
                         MeanDivisor divisor) {
  constexpr const char* kOp = "segment_mean_grad";
  check_rank(kOp, "dout", dout, 4);
  check_float(kOp, "dout", dout);
  check_cut(kOp, "dout", dout, starts, positions, mask);
  check_shape(kOp, "dout", dout, {dout.dim(0), dout.dim(1), starts.dim(1) - 1, dout.dim(3)});
  Tensor dx = empty({dout.dim(0), positions, dout.dim(1), dout.dim(3)}, dout.dtype(), dout.device()).transpose(1, 2);
  const Tensor rows = dout.contiguous();
  on_device(
      dx.device(), [&](auto) { cpu::segment_mean_grad(rows, starts, mask, divisor, dx); },
      [&](auto) { cuda::segment_mean_grad(rows, starts, mask, divisor, dx); });
  return dx;
}

}  // namespace subquad::kernels
