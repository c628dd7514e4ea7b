// What the doors of this room share.
#pragma once

#include <algorithm>
#include <vector>

#include "subquad/core/as_shape.h"
#include "subquad/core/check.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/matmul/batched.h"

namespace subquad::kernels {

// An operand of a product: bfloat16, too, where product_operands can have made it.
inline void check_linear_input(const char* op, const char* name, const Tensor& t) {
  if (!t.defined() || t.device().is_cpu() || t.dtype() != kBFloat16) check_float(op, name, t);
  if (t.rank() < 1) throw ShapeError(cat(op, ": ", name, " is ", describe(t), ", expected [..., D]"));
}

// Of products of such operands.
inline DType product_dtype(const Tensor& operand) {
  return operand.dtype() == kBFloat16 ? kFloat32 : operand.dtype();
}

// x, a weight [I, O] and a bias [O] or an undefined one go together.
inline void check_linear_map(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_rank(op, "weight", weight, 2);
  check_same_kind(op, "x", x, "weight", weight);
  if (x.dim(-1) != weight.dim(0))
    throw ShapeError(cat(op, ": x is ", describe(x), ", expected [..., ", weight.dim(0), "] for weight ",
                         weight.shape(), " = [I, O]"));
  if (!bias.defined()) return;
  check_same_device(op, "x", x, "bias", bias);
  check_dtype(op, "bias", bias, product_dtype(x));
  check_shape(op, "bias", bias, {weight.dim(1)});
  check_contiguous(op, "bias", bias);
}

// All dimensions but the last as one, [rows, D]; a copy only when that is not a view whose rows lie apart.
inline Tensor as_rows(const Tensor& t) {
  if (t.rank() == 2) return t;
  Index rows = 1;
  for (int d = 0; d + 1 < t.rank(); ++d) rows *= t.dim(d);
  const Tensor out = as_shape(t, {rows, t.dim(-1)});
  return is_row_major(out) ? out : out.contiguous();
}

// How many rows of a linear map the CPU works on at a time, so that they stay in L2 from one product to the next: 256,
// of 128 numbers 128 KiB. All of them where packing the weights for each block would cost too much.
inline Index rows_in_l2(Index rows, const Tensor& weight) {
  constexpr Index kRows = 256, kWidest = 512;
  return std::max(weight.dim(0), weight.dim(1)) <= kWidest ? kRows : (rows + kRows - 1) / kRows * kRows;
}

// f(begin, end) for each such block of rows.
template <class F>
void for_rows_in_l2(Index rows, const Tensor& weight, Index products, const F& f) {
  constexpr Index kFlopsPerOperation = 32;  // of a product against the scalar operations that parallel_for counts
  parallel_chunks(rows, std::max<Index>(rows_in_l2(rows, weight), 1), products * weight.size() / kFlopsPerOperation, f);
}

// The transpose of a weight on the CPU, row-major: packed as it lies by product after product.
inline Tensor turned(const Tensor& weight) {
  Tensor out = empty({weight.dim(1), weight.dim(0)}, weight.dtype(), weight.device());
  visit_float("linear", weight.dtype(), [&]<class T>(Type<T>) {
    const auto from = weight.view<const T, 2>();
    auto to = out.view<T, 2>();
    for (Index o = 0; o < out.dim(0); ++o)
      for (Index i = 0; i < out.dim(1); ++i) to(o, i) = from(i, o);
  });
  return out;
}

// Matrices [rows, O] that are columns of one, left to right, as that one [rows, S O]; undefined where they are none.
inline Tensor side_by_side(const std::vector<Tensor>& matrices) {
  const Tensor stack = Tensor::stack_where_they_lie(matrices);  // [S, rows, O]
  if (!stack.defined() || stack.dim(0) == 1 || stack.size() == 0) return {};
  const Index width = stack.dim(2), all = stack.dim(0) * width;
  const bool columns = stack.strides()[2] == 1 && stack.strides()[0] == width && stack.strides()[1] >= all;
  return columns ? stack.transpose(0, 1).reshape({stack.dim(1), all}) : Tensor();
}

}  // namespace subquad::kernels
