#include "subquad/kernels/running_max/running_max.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
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

Tensor running_max_grad(const Tensor& dout, const Tensor& x, const Tensor& out, const RunningMaxOptions& options,
                        const Mask& mask) {
  constexpr const char* kOp = "running_max_grad";
  const RunningMaxOptions fit = check_inputs(kOp, x, options, mask);
  check_shape(kOp, "dout", dout, out_shape(x, fit.columns));
  check_shape(kOp, "out", out, dout.shape());
  check_same_kind(kOp, "x", x, "dout", dout);
  check_alike(kOp, "dout", dout, "out", out);
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

}  // namespace subquad::kernels
