#include "subquad/kernels/reduce/reduce.h"

#include "subquad/core/check.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/cpu.h"
#include "subquad/kernels/reduce/cuda.h"
#include "subquad/kernels/reduce/layout.h"

namespace subquad::kernels {
namespace {

Tensor sum_form(const char* op, const Tensor& x, const ReduceLayout& layout) {
  Tensor out = empty(layout.kept(), x.dtype(), x.device(), op);
  const Tensor form = x.device().is_cpu() ? layout.to_rows(x) : layout.to_form(x);
  on_device(
      x.device(), [&](auto) { cpu::sum(form, out); }, [&](auto) { cuda::sum(form, out); }, op);
  return out;  // [A, K]
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  check_float("sum", "x", x);
  const ReduceLayout layout("sum", x.shape(), axes);
  return sum_form("sum", x, layout).reshape(layout.result(keepdim));
}

Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  check_float("mean", "x", x);
  const ReduceLayout layout("mean", x.shape(), axes);
  Tensor out = sum_form("mean", x, layout);
  if (layout.count() > 1) scale_into(out, 1.0 / static_cast<double>(layout.count()));
  return out.reshape(layout.result(keepdim));
}

MaxResult max(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  check_float("max", "x", x);
  const ReduceLayout layout("max", x.shape(), axes);
  if (layout.count() == 0 && layout.kept().size() > 0)
    throw ShapeError(cat("max: x is ", describe(x), ", expected at least one element along the reduced axes"));
  Tensor values = empty(layout.kept(), x.dtype(), x.device());
  Tensor indices = empty(layout.kept(), kInt64, x.device());
  const Tensor form = layout.to_form(x);
  on_device(
      x.device(), [&](auto) { cpu::max(form, values, indices); }, [&](auto) { cuda::max(form, values, indices); });
  return {values.reshape(layout.result(keepdim)), indices.reshape(layout.result(keepdim))};
}

Tensor max_grad(const Tensor& dout, const Tensor& indices, const Shape& shape, const std::vector<int>& axes) {
  check_float("max_grad", "dout", dout);
  check_dtype("max_grad", "indices", indices, kInt64);
  check_shape("max_grad", "indices", indices, dout.shape());
  check_same_device("max_grad", "dout", dout, "indices", indices);
  const ReduceLayout layout("max_grad", shape, axes);
  if (dout.shape() != layout.result(false) && dout.shape() != layout.result(true))
    throw ShapeError(cat("max_grad: dout is ", describe(dout), ", expected shape ", layout.result(false), " or ",
                         layout.result(true)));
  Tensor dx = zeros(layout.form(), dout.dtype(), dout.device());
  const Tensor upstream = dout.contiguous().reshape(layout.kept()), rows = indices.contiguous().reshape(layout.kept());
  on_device(
      dout.device(), [&](auto) { cpu::max_grad(upstream, rows, dx); },
      [&](auto) { cuda::max_grad(upstream, rows, dx); });
  return layout.from_form(dx).contiguous();
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  check_float("sum_to", "x", x);
  if (x.shape() == shape) return x;
  const int extra = x.rank() - shape.rank();
  std::vector<int> axes;
  for (int d = 0; d < x.rank(); ++d) {
    const bool added = d < extra;
    const bool stretched = !added && extra >= 0 && shape[d - extra] == 1 && x.shape()[d] != 1;
    if (added || stretched) axes.push_back(d);
    if (extra < 0 || (!added && !stretched && shape[d - extra] != x.shape()[d]))
      throw ShapeError(cat("sum_to: x is ", describe(x), ", expected a shape that ", shape, " broadcasts to"));
  }
  const auto summed = [&](auto) { return sum(x, axes).reshape(shape); };
  return on_device(x.device(), summed, summed);
}

}  // namespace subquad::kernels
