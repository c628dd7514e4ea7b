#include "subquad/kernels/linear/linear.h"

#include "subquad/kernels/linear/cpu.h"
#include "subquad/kernels/linear/cuda.h"
#include "subquad/kernels/linear/rows.h"
#include "subquad/kernels/matmul/cpu.h"
#include "subquad/kernels/matmul/cuda.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad::kernels {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_linear_input("linear", "x", x);
  check_linear_map("linear", x, weight, bias);
  const Tensor rows = as_rows(x);
  Tensor out = empty({rows.dim(0), weight.dim(1)}, product_dtype(x), x.device());
  on_device(
      out.device(), [&](auto) { cpu::matmul(rows, weight, bias, 1, 0, out); },
      [&](auto) {
        Tensor stack = out.unsqueeze(0);
        if (bias.defined()) cuda::spread_biases(bias.unsqueeze(0), stack);
        cuda::matmul(rows, weight, 1, bias.defined() ? 1 : 0, out);
      },
      Flops{2 * static_cast<double>(out.size()) * static_cast<double>(weight.dim(0))});
  return out.reshape(x.shape().with(x.rank() - 1, weight.dim(1)));
}

Tensor linear_grad_weight(const Tensor& dout, const Tensor& x) {
  check_linear_input("linear_grad_weight", "dout", dout);
  check_linear_input("linear_grad_weight", "x", x);
  check_same_kind("linear_grad_weight", "dout", dout, "x", x);
  check_shape("linear_grad_weight", "dout", dout, x.shape().with(x.rank() - 1, dout.dim(-1)));
  const Tensor left = as_rows(x).transpose(0, 1), right = as_rows(dout);
  return on_device(
      x.device(), [&](auto) { return matmul(left, right); },
      [&](auto) {
        Tensor dweight = empty({left.dim(0), right.dim(1)}, product_dtype(x), x.device());
        cuda::matmul(left, right, 1, 0, dweight);
        return dweight;
      });
}

Tensor linear_grad_bias(const Tensor& dout) {
  check_linear_input("linear_grad_bias", "dout", dout);
  Tensor dbias = empty({dout.dim(-1)}, dout.dtype(), dout.device());
  on_device(
      dout.device(), [&](auto) { cpu::linear_grad_bias(as_rows(dout), dbias); },
      [&](auto) {
        const Tensor parts = cuda::column_sums({as_rows(dout)}).select(0, 0);
        dbias = parts.dim(0) == 1 ? parts.select(0, 0) : sum(parts, {0});
      });
  return dbias;
}

}  // namespace subquad::kernels
