#include "subquad/autograd/ops/shape.h"

#include "subquad/autograd/record.h"
#include "subquad/core/as_shape.h"
#include "subquad/kernels/copy/copy.h"
#include "subquad/kernels/reduce/reduce.h"

namespace subquad {
namespace {

// For views that keep every element in its row-major order: the gradient is dout, seen in x's shape.
Variable record_reshape(const char* op, const Tensor& out, const Variable& x) {
  return record(op, out, {x}, [shape = x.shape()](const Tensor& dout, Grads& grads) {
    grads.add(0, as_shape(dout, shape));
  });
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) {
  return record_reshape("reshape", x.value().reshape(shape), x);
}

Variable unsqueeze(const Variable& x, int dim) {
  return record_reshape("unsqueeze", x.value().unsqueeze(dim), x);
}

Variable squeeze(const Variable& x, int dim) {
  return record_reshape("squeeze", x.value().squeeze(dim), x);
}

Variable transpose(const Variable& x, int a, int b) {
  return record("transpose", x.value().transpose(a, b), {x},
                [a, b](const Tensor& dout, Grads& grads) { grads.add(0, dout.transpose(a, b)); });
}

Variable permute(const Variable& x, const std::vector<int>& order) {
  Tensor out = x.value().permute(order);
  std::vector<int> back(order.size());
  for (std::size_t d = 0; d < order.size(); ++d) {
    const int from = order[d] < 0 ? order[d] + x.rank() : order[d];
    back[static_cast<std::size_t>(from)] = static_cast<int>(d);
  }
  return record("permute", out, {x}, [back](const Tensor& dout, Grads& grads) { grads.add(0, dout.permute(back)); });
}

Variable slice(const Variable& x, int dim, Index start, Index stop, Index step) {
  return record("slice", x.value().slice(dim, start, stop, step), {x},
                [shape = x.shape(), dim, start, step](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::slice_grad(dout, shape, dim, start, step));
                });
}

Variable select(const Variable& x, int dim, Index index) {
  const int d = dim < 0 ? dim + x.rank() : dim;
  return record("select", x.value().select(dim, index), {x},
                [shape = x.shape(), d, index](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::slice_grad(dout.unsqueeze(d), shape, d, index));
                });
}

Variable expand(const Variable& x, const Shape& shape) {
  return record("expand", x.value().expand(shape), {x},
                [shape = x.shape()](const Tensor& dout, Grads& grads) { grads.add(0, kernels::sum_to(dout, shape)); });
}

Variable contiguous(const Variable& x) {
  if (x.value().is_contiguous()) return x;
  return record("contiguous", x.value().contiguous(), {x},
                [](const Tensor& dout, Grads& grads) { grads.add(0, dout); });
}

Variable cast(const Variable& x, DType dtype) {
  return record("cast", x.value().to(dtype), {x},
                [before = x.dtype()](const Tensor& dout, Grads& grads) { grads.add(0, dout.to(before)); });
}

Variable concat(const std::vector<Variable>& parts, int dim) {
  std::vector<Tensor> values;
  for (const Variable& part : parts) values.push_back(part.value());
  Tensor out = kernels::concat(values, dim);
  std::vector<Index> starts = {0};  // where each part begins along dim, and the end
  for (const Tensor& value : values) starts.push_back(starts.back() + value.dim(dim));
  return record("concat", out, parts, [dim, starts](const Tensor& dout, Grads& grads) {
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      const int input = static_cast<int>(i);
      if (grads.wanted(input)) grads.add(input, dout.slice(dim, starts[i], starts[i + 1]));
    }
  });
}

Variable index_select(const Variable& x, int dim, const Tensor& index) {
  return record("index_select", kernels::index_select(x.value(), dim, index), {x},
                [dim, index = Saved(index), extent = x.dim(dim)](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::index_select_grad(dout, dim, index, extent));
                });
}

Variable gather(const Variable& x, int dim, const Tensor& index) {
  return record("gather", kernels::gather(x.value(), dim, index), {x},
                [dim, index = Saved(index), shape = x.shape()](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::gather_grad(dout, dim, index, shape));
                });
}

}  // namespace subquad
