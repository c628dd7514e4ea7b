#include "subquad/kernels/softmax/softmax.h"

#include "subquad/core/check.h"
#include "subquad/kernels/softmax/cpu.h"
#include "subquad/kernels/softmax/cuda.h"

namespace subquad::kernels {

namespace {

void check_rows(const char* op, const Tensor& x) {
  check_float(op, "x", x);
  check_contiguous(op, "x", x);
  if (x.rank() == 0) throw ShapeError(cat(op, ": x is ", describe(x), ", expected at least one dimension"));
}

void check_grad(const char* op, const Tensor& dout, const Tensor& y) {
  check_float(op, "y", y);
  check_shape(op, "dout", dout, y.shape());
  check_alike(op, "dout", dout, "y", y);
  if (y.rank() == 0) throw ShapeError(cat(op, ": y is ", describe(y), ", expected at least one dimension"));
}

}  // namespace

Tensor softmax(const Tensor& x) {
  check_rows("softmax", x);
  Tensor y = empty_like(x);
  on_device(
      x.device(), [&](auto) { cpu::softmax(x, y); }, [&](auto) { cuda::softmax(x, y); });
  return y;
}

Tensor softmax_grad(const Tensor& dout, const Tensor& y) {
  check_grad("softmax_grad", dout, y);
  Tensor dx = empty_like(y);
  on_device(
      y.device(), [&](auto) { cpu::softmax_grad(dout, y, dx); }, [&](auto) { cuda::softmax_grad(dout, y, dx); });
  return dx;
}

Tensor log_softmax(const Tensor& x) {
  check_rows("log_softmax", x);
  Tensor y = empty_like(x);
  on_device(
      x.device(), [&](auto) { cpu::log_softmax(x, y); }, [&](auto) { cuda::log_softmax(x, y); });
  return y;
}

Tensor log_softmax_grad(const Tensor& dout, const Tensor& y) {
  check_grad("log_softmax_grad", dout, y);
  Tensor dx = empty_like(y);
  on_device(
      y.device(), [&](auto) { cpu::log_softmax_grad(dout, y, dx); },
      [&](auto) { cuda::log_softmax_grad(dout, y, dx); });
  return dx;
}

}  // namespace subquad::kernels
