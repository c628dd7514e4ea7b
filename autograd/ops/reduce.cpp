#include "subquad/autograd/ops/reduce.h"

#include <algorithm>

#include "subquad/autograd/record.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {
namespace {

// Every element gets the gradient of the result it went into: dout, seen in x's shape without a copy.
Tensor spread(const Tensor& dout, const Shape& shape, const std::vector<int>& axes) {
  Shape kept = shape;
  for (int d = 0; d < shape.rank(); ++d)
    if (axes.empty()) kept[d] = 1;
  for (const int axis : axes) kept[axis < 0 ? axis + shape.rank() : axis] = 1;
  return dout.contiguous().reshape(kept).expand(shape);
}

}  // namespace

Variable sum(const Variable& x, const std::vector<int>& axes, bool keepdim) {
  return record("sum", kernels::sum(x.value(), axes, keepdim), {x},
                [shape = x.shape(), axes](const Tensor& dout, Grads& grads) {  // dx = dout
                  grads.add(0, spread(dout, shape, axes));
                });
}

Variable mean(const Variable& x, const std::vector<int>& axes, bool keepdim) {
  Tensor out = kernels::mean(x.value(), axes, keepdim);
  const Index count = x.shape().size() / std::max<Index>(out.size(), 1);
  return record("mean", out, {x}, [shape = x.shape(), axes, count](const Tensor& dout, Grads& grads) {  // dx = dout / R
    if (count == 0) return grads.add(0, zeros(shape, dout.dtype(), dout.device()));
    grads.add(0, spread(kernels::mul_scalar(dout, 1.0 / static_cast<double>(count)), shape, axes));
  });
}

MaxResult max(const Variable& x, const std::vector<int>& axes, bool keepdim) {
  const kernels::MaxResult out = kernels::max(x.value(), axes, keepdim);
  const Variable values =
      record("max", out.values, {x},
             [shape = x.shape(), axes, indices = Saved(out.indices)](const Tensor& dout, Grads& grads) {
               grads.add(0, kernels::max_grad(dout, indices, shape, axes));
             });
  return {values, out.indices};
}

}  // namespace subquad
