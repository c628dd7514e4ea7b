#include "subquad/kernels/matmul/batched.h"

namespace subquad::kernels {

Shape batch_shape(const Tensor& t) {
  return Shape(std::vector<Index>(t.shape().begin(), t.shape().end() - 2));
}

bool is_row_major(const Tensor& t) {
  const Index rows = t.dim(-2), columns = t.dim(-1);
  const Index row_stride = t.strides()[t.rank() - 2], column_stride = t.strides()[t.rank() - 1];
  return (columns <= 1 || column_stride == 1) && (rows <= 1 || row_stride >= std::max<Index>(columns, 1));
}

bool is_readable(const Tensor& t) {
  return is_row_major(t) || is_row_major(t.transpose(-2, -1));
}

}  // namespace subquad::kernels
