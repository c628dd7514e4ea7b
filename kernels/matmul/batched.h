// How matmul's operands lie in memory: a batch of matrices that a BLAS can read where they are.
#pragma once

#include <algorithm>

#include "subquad/core/tensor.h"
#include "subquad/kernels/blas/matrix.h"

namespace subquad::kernels {

Shape batch_shape(const Tensor& t);  // all dimensions but the last two

// Are the matrices of `t` row-major, rows without overlap?
bool is_row_major(const Tensor& t);

// Whether a BLAS can read the matrices of `t` where they lie: they are row-major or the transpose of row-major.
bool is_readable(const Tensor& t);

// One operand, or the output, of a batch of products.
template <class T>
struct Batched {
  Matrix<T> matrix;  // the first of them
  Shape batch;       // the output's batch dimensions
  Shape strides;     // of those, for this operand: 0 where it is broadcast

  Matrix<T> operator[](Index item) const {
    T* data = matrix.data;
    for (int d = batch.rank() - 1; d >= 0; --d) {
      data += item % batch[d] * strides[d];
      item /= batch[d];
    }
    return {data, matrix.ld, matrix.transposed};
  }
};

// `t` is readable and has at most the batch dimensions of the output.
template <class T, class TensorRef>
Batched<T> batched(TensorRef& t, const Shape& batch) {
  const Index rows = t.dim(-2), columns = t.dim(-1);
  Batched<T> out;
  out.matrix.data = t.template data<T>();
  out.matrix.transposed = !is_row_major(t);
  if (out.matrix.transposed)
    out.matrix.ld = columns > 1 ? t.strides()[t.rank() - 1] : std::max<Index>(rows, 1);
  else
    out.matrix.ld = rows > 1 ? t.strides()[t.rank() - 2] : std::max<Index>(columns, 1);
  out.batch = batch;
  const int missing = batch.rank() - (t.rank() - 2);
  for (int d = 0; d < batch.rank(); ++d) {
    const bool broadcast = d < missing || t.dim(d - missing) == 1;
    out.strides.push_back(broadcast ? 0 : t.strides()[d - missing]);
  }
  return out;
}

}  // namespace subquad::kernels
