#include "subquad/autograd/ops/softmax.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/softmax/softmax.h"

namespace subquad {

namespace {

using Kernel = Tensor (*)(const Tensor&);
using GradKernel = Tensor (*)(const Tensor& dout, const Tensor& y);

// The kernels work along the last dimension: another one is moved there and back.
Variable along(const char* op, const Variable& x, int dim, Kernel forward, GradKernel backward) {
  const int last = x.rank() - 1;
  const int axis = dim < 0 ? dim + x.rank() : dim;
  if (axis < 0 || axis > last) throw ShapeError(cat(op, ": dim ", dim, " is outside x of shape ", x.shape()));
  const Tensor y = forward(x.value().transpose(axis, last).contiguous());
  // dx = J^T dout along the axis, from y alone: kernels/softmax/softmax.h
  return record(op, y.transpose(axis, last).contiguous(), {x},
                [y = Saved(y), axis, last, backward](const Tensor& dout, Grads& grads) {
                  const Tensor dx = backward(dout.transpose(axis, last).contiguous(), y);
                  grads.add(0, dx.transpose(axis, last).contiguous());
                });
}

}  // namespace

Variable softmax(const Variable& x, int dim) {
  return along("softmax", x, dim, kernels::softmax, kernels::softmax_grad);
}

Variable log_softmax(const Variable& x, int dim) {
  return along("log_softmax", x, dim, kernels::log_softmax, kernels::log_softmax_grad);
}

}  // namespace subquad
