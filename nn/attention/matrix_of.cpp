#include "subquad/nn/attention/matrix_of.h"

#include <algorithm>

#include "subquad/autograd/record.h"

namespace subquad::nn {

Tensor matrix_of(const MatrixInputs& in, const std::function<Variable(const Variable& values)>& map) {
  const NoGrad no_grad;
  Tensor matrix;
  for (Index start = 0; start < in.positions || !matrix.defined(); start += in.columns) {
    const Index stop = std::min(in.positions, start + in.columns);
    Tensor columns = zeros({in.positions, in.columns}, in.dtype, in.device);  // start ... stop - 1 of the identity
    for (Index j = start; j < stop; ++j) {
      Tensor one = columns.select(0, j).slice(0, j - start, j - start + 1);
      fill(one, 1);
    }
    const Tensor values = columns.expand({in.batch, in.heads, in.positions, in.columns}).contiguous();
    const Tensor mapped = map(Variable(values)).value();  // [B, H, R, C]
    if (!matrix.defined()) matrix = empty(mapped.shape().with(3, in.positions), in.dtype, in.device);
    Tensor target = matrix.slice(3, start, stop);
    copy(mapped.slice(3, 0, stop - start), target);
  }
  return matrix;
}

}  // namespace subquad::nn
