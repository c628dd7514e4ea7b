#include "subquad/kernels/running_max/running_max.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/running_max/cpu.h"
#include "subquad/kernels/running_max/cuda.h"

namespace subquad::kernels {

namespace {

RunningMaxOptions check_inputs(const char* op, const Tensor& x, RunningMaxOptions options, const Mask& mask) {
  check_rank(op, "x", x, 3);
  check_float(op, "x", x);
  check_mask(op, mask, x.dim(0), x.dim(1));
  if (mask.defined()) check_same_device(op, "x", x, "mask", mask.real);
  if (options.columns < 1) throw Error(cat(op, ": columns is ", options.columns, ", expected at least 1"));
  options.columns = std::min(options.columns, std::max<Index>(x.dim(1), 1));
  return options;
}

Shape out_shape(const Tensor& x, Index columns) {
  return {x.dim(0), (x.dim(1) + columns - 1) / columns * columns, x.dim(2)};
}

}  // namespace

Tensor running_max(const Tensor& x, const RunningMaxOptions& options, const Mask& mask) {
  const RunningMaxOptions fit = check_inputs("running_max", x, options, mask);
  Tensor out = empty(out_shape(x, fit.columns), x.dtype(), x.device());
  const Tensor rows = with_unit_stride(x);
  on_device(
      x.device(), [&](auto) { cpu::running_max(rows, fit, mask, out); },
      [&](auto) { cuda::running_max(rows, fit, mask, out); });
  return out;
}

namespace {

RunningMaxOptions check_grad_inputs(const char* op, const Tensor& dout, const Tensor& x, const Tensor& out,
                                    const RunningMaxOptions& options, const Mask& mask) {
  const RunningMaxOptions fit = check_inputs(op, x, options, mask);
  check_shape(op, "dout", dout, out_shape(x, fit.columns));
  check_shape(op, "out", out, dout.shape());
  check_same_kind(op, "x", x, "dout", dout);
  check_alike(op, "dout", dout, "out", out);
  return fit;
}

}  // namespace

Tensor running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                        const Mask& mask) {
  const RunningMaxOptions fit = check_grad_inputs("running_max_grad", dout, x, out, options, mask);
  const Tensor rows = with_unit_stride(x);
  Tensor dx = empty(x.shape(), x.dtype(), x.device());
  on_device(
      x.device(),
      [&](auto) {
        fill(dx, 0);
        cpu::running_max_grad(dout, rows, out, fit, mask, dx);
      },
      [&](auto) { cuda::running_max_grad(dout, rows, out, fit, mask, dx); });
  return dx;
}

void running_max_add_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                          Tensor& dx, const Mask& mask) {
  constexpr const char* kOp = "running_max_add_grad";
  const RunningMaxOptions fit = check_grad_inputs(kOp, dout, x, out, options, mask);
  check_shape(kOp, "dx", dx, x.shape());
  check_same_kind(kOp, "x", x, "dx", dx);
  if (dx.strides()[2] != 1) throw ShapeError(cat(kOp, ": dx has rows that are not contiguous"));
  const Tensor rows = with_unit_stride(x);
  on_device(
      x.device(),
      [&](auto) {
        cpu::running_max_grad(dout, rows, out, fit, mask, dx);
        dx.bump_version();
      },
      [&](auto) { add_into(dx, running_max_grad(dout, x, out, fit, mask)); });
}

}  // namespace subquad::kernels
