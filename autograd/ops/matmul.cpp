#include "subquad/autograd/ops/matmul.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/linear/linear.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/matmul/matmul_or.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {

namespace {

Tensor transposed(const Tensor& t) {
  return t.transpose(-2, -1);
}

// a^T dout, summed over the batch dimensions that b was broadcast over. One matrix shared by the whole batch is the
// weight of a linear map: its gradient is a single long product, no [batch, K, N] in between.
Tensor grad_b(const Tensor& a, const Tensor& dout, const Shape& shape) {
  if (shape.rank() == 2) return kernels::linear_grad_weight(dout, a);
  return kernels::sum_to(kernels::matmul(transposed(a), dout), shape);
}

}  // namespace

Variable matmul(const Variable& a, const Variable& b) {
  // da [..., M, K] = dout b^T, db [..., K, N] = a^T dout; both summed over the dimensions that were broadcast
  return record("matmul", kernels::matmul(a.value(), b.value()), {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& dout, Grads& grads) {
                  const Tensor &left = a, &right = b;
                  if (grads.wanted(0))
                    grads.add(0, kernels::sum_to(kernels::matmul(dout, transposed(right)), left.shape()));
                  if (grads.wanted(1)) grads.add(1, grad_b(left, dout, right.shape()));
                });
}

Variable matmul_or(const Variable& a, const Variable& y, const Variable& x, const Tensor& none) {
  // da = dout y^T, dy = a^T dout, or dx = dout, each of them 0 in the other samples
  return record("matmul_or", kernels::matmul_or(a.value(), y.value(), x.value(), none), {a, y, x},
                [a = Saved(a), y = Saved(y), none = Saved(none)](const Tensor& dout, Grads& grads) {
                  const kernels::MatmulOrGrads g = kernels::matmul_or_grad(dout, a, y, none);
                  if (grads.wanted(0)) grads.add(0, g.da);
                  if (grads.wanted(1)) grads.add(1, g.dy);
                  if (grads.wanted(2)) grads.add(2, g.dx);
                });
}

}  // namespace subquad
