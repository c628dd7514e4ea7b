#include "subquad/kernels/matmul/matmul.h"

#include "subquad/core/check.h"
#include "subquad/kernels/matmul/batched.h"
#include "subquad/kernels/matmul/cpu.h"
#include "subquad/kernels/matmul/cuda.h"

namespace subquad::kernels {

namespace {

Shape product_shape(const Tensor& a, const Tensor& b) {
  check_defined("matmul", "a", a);
  check_defined("matmul", "b", b);
  check_float("matmul", "a", a);
  check_same_kind("matmul", "a", a, "b", b);
  if (a.rank() < 2 || b.rank() < 2)
    throw ShapeError(
        cat("matmul: a is ", describe(a), " and b is ", describe(b), ", expected at least rank 2 of each"));
  if (a.dim(-1) != b.dim(-2))
    throw ShapeError(cat("matmul: a is ", describe(a), " and b is ", describe(b),
                         ", expected [..., M, K] and [..., K, N]: K is ", a.dim(-1), " here and ", b.dim(-2),
                         " there"));
  Shape shape = broadcast_shapes("matmul", batch_shape(a), batch_shape(b));
  shape.push_back(a.dim(-2));
  shape.push_back(b.dim(-1));
  return shape;
}

void check_out(const Tensor& a, const Tensor& out, const Shape& expected) {
  check_defined("matmul", "out", out);
  check_same_kind("matmul", "a", a, "out", out);
  check_shape("matmul", "out", out, expected);
  if (out.size() == 0) return;
  const Index rows = out.dim(-2), columns = out.dim(-1);
  const Index row_stride = out.strides()[out.rank() - 2], column_stride = out.strides()[out.rank() - 1];
  bool repeats = false;
  for (int d = 0; d < out.rank(); ++d) repeats = repeats || (out.dim(d) > 1 && out.strides()[d] == 0);
  if (repeats || (columns > 1 && column_stride != 1) || (rows > 1 && row_stride < columns))
    throw ShapeError(cat("matmul: out is ", describe(out), " with strides ", out.strides(),
                         ", expected row-major matrices that do not overlap"));
}

// All dimensions but the last as one: [rows, D].
Tensor stacked(const Tensor& t) {
  Index rows = 1;
  for (int d = 0; d + 1 < t.rank(); ++d) rows *= t.dim(d);
  return t.reshape({rows, t.dim(-1)});
}

void run(const char* op, const Tensor& a, const Tensor& b, double alpha, double beta, Tensor& out) {
  on_device(
      out.device(), [&](auto) { cpu::matmul(a, b, Tensor(), alpha, beta, out); },
      [&](auto) { cuda::matmul(a, b, alpha, beta, out); },
      Flops{2 * static_cast<double>(out.size()) * static_cast<double>(a.dim(-1))}, op);
}

void product(const char* op, const Tensor& a, const Tensor& b, double alpha, double beta, Tensor& out) {
  if (b.rank() == 2 && a.is_contiguous() && out.is_contiguous()) {  // one tall product in place of many
    Tensor tall = stacked(out);
    run(op, stacked(a), b, alpha, beta, tall);
  } else {
    run(op, a, b, alpha, beta, out);
  }
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  const Shape shape = product_shape(a, b);
  Tensor out = empty(shape, a.dtype(), a.device());
  product("matmul", a, b, 1, 0, out);
  return out;
}

void matmul_into(const Tensor& a, const Tensor& b, Tensor& out, double alpha, double beta) {
  const Shape shape = product_shape(a, b);
  check_out(a, out, shape);
  product("matmul_into", a, b, alpha, beta, out);
  out.bump_version();
}

}  // namespace subquad::kernels
