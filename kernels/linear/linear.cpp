#include "subquad/kernels/linear/linear.h"

#include "subquad/core/check.h"
#include "subquad/kernels/linear/cpu.h"
#include "subquad/kernels/linear/cuda.h"
#include "subquad/kernels/matmul/cpu.h"
#include "subquad/kernels/matmul/cuda.h"
#include "subquad/kernels/matmul/matmul.h"

namespace subquad::kernels {

namespace {

void check_input(const char* op, const char* name, const Tensor& t) {
  check_float(op, name, t);
  if (t.rank() < 1) throw ShapeError(cat(op, ": ", name, " is ", describe(t), ", expected [..., D]"));
}

// All dimensions but the last as one, [rows, D]; a copy only when that is not a view.
Tensor as_rows(const Tensor& t) {
  if (t.rank() == 2) return t;
  Index rows = 1;
  for (int d = 0; d + 1 < t.rank(); ++d) rows *= t.dim(d);
  return t.contiguous().reshape({rows, t.dim(-1)});
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_input("linear", "x", x);
  check_rank("linear", "weight", weight, 2);
  check_same_kind("linear", "x", x, "weight", weight);
  if (x.dim(-1) != weight.dim(0))
    throw ShapeError(cat("linear: x is ", describe(x), ", expected [..., ", weight.dim(0), "] for weight ",
                         weight.shape(), " = [I, O]"));
  if (bias.defined()) {
    check_same_kind("linear", "x", x, "bias", bias);
    check_shape("linear", "bias", bias, {weight.dim(1)});
    check_contiguous("linear", "bias", bias);
  }
  const Tensor rows = as_rows(x);
  Tensor out = empty({rows.dim(0), weight.dim(1)}, x.dtype(), x.device());
  on_device(
      out.device(), [&](auto) { cpu::matmul(rows, weight, bias, 1, 0, out); },
      [&](auto) {
        if (bias.defined()) cuda::spread_bias(bias, out);
        cuda::matmul(rows, weight, 1, bias.defined() ? 1 : 0, out);
      });
  return out.reshape(x.shape().with(x.rank() - 1, weight.dim(1)));
}

Tensor linear_grad_weight(const Tensor& dout, const Tensor& x) {
  check_input("linear_grad_weight", "dout", dout);
  check_input("linear_grad_weight", "x", x);
  check_same_kind("linear_grad_weight", "dout", dout, "x", x);
  check_shape("linear_grad_weight", "dout", dout, x.shape().with(x.rank() - 1, dout.dim(-1)));
  const auto product = [&](auto) { return matmul(as_rows(x).transpose(0, 1), as_rows(dout)); };
  return on_device(x.device(), product, product);
}

Tensor linear_grad_bias(const Tensor& dout) {
  check_input("linear_grad_bias", "dout", dout);
  Tensor dbias = empty({dout.dim(-1)}, dout.dtype(), dout.device());
  on_device(
      dout.device(), [&](auto) { cpu::linear_grad_bias(as_rows(dout), dbias); },
      [&](auto) { cuda::linear_grad_bias(as_rows(dout), dbias); });
  return dbias;
}

}  // namespace subquad::kernels
