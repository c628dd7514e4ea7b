#include "subquad/kernels/copy/copy.h"

#include "subquad/core/check.h"
#include "subquad/kernels/copy/cpu.h"
#include "subquad/kernels/copy/cuda.h"
#include "subquad/kernels/copy/rows.h"

namespace subquad::kernels {
namespace {

int check_dim(const char* op, int dim, const Shape& shape) {
  const int d = dim < 0 ? dim + shape.rank() : dim;
  if (d < 0 || d >= shape.rank()) throw ShapeError(cat(op, ": dimension ", dim, " is out of range for shape ", shape));
  return d;
}

// The index, contiguous and where x (or dout) lies. Its values are the CPU's to check (check_range); on CUDA the
// kernels look at them.
Tensor contiguous_index(const char* op, const char* name, const Tensor& x, const Tensor& index) {
  check_dtype(op, "index", index, kInt64);
  check_same_device(op, name, x, "index", index);
  return index.contiguous();
}

void check_range(const char* op, const Tensor& index, Index extent) {
  const Index* values = index.data<Index>();
  for (Index i = 0; i < index.size(); ++i)
    if (values[i] < 0 || values[i] >= extent)
      throw Error(cat(op, ": index[", i, "] is ", values[i], ", expected 0 <= index < ", extent));
}

// The extents before, at and after a dimension.
Shape around(const Shape& shape, int dim) {
  Shape out = {1, shape[dim], 1};
  for (int d = 0; d < dim; ++d) out[0] *= shape[d];
  for (int d = dim + 1; d < shape.rank(); ++d) out[2] *= shape[d];
  return out;
}

void check_gather_index(const char* op, const Shape& shape, int dim, const Tensor& index) {
  check_rank(op, "index", index, shape.rank());
  for (int d = 0; d < shape.rank(); ++d)
    if (d != dim && index.dim(d) > shape[d])
      throw ShapeError(cat(op, ": index is ", describe(index), ", expected at most ", shape[d], " along dimension ", d,
                           " of x ", shape));
}

}  // namespace

Tensor concat(const std::vector<Tensor>& tensors, int dim) {
  if (tensors.empty()) throw ShapeError("concat: no tensors, expected at least one");
  const Tensor& head = tensors.front();
  check_defined("concat", "tensors[0]", head);
  const int d = check_dim("concat", dim, head.shape());
  Index extent = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = cat("tensors[", i, "]");
    check_same_kind("concat", "tensors[0]", head, name.c_str(), tensors[i]);
    check_rank("concat", name.c_str(), tensors[i], head.rank());
    check_shape("concat", name.c_str(), tensors[i], head.shape().with(d, tensors[i].dim(d)));
    extent += tensors[i].dim(d);
  }
  Tensor out = empty(head.shape().with(d, extent), head.dtype(), head.device());
  const auto copy_parts = [&](auto) {
    Index start = 0;
    for (const Tensor& t : tensors) {
      Tensor part = out.slice(d, start, start + t.dim(d));
      copy(t, part);
      start += t.dim(d);
    }
  };
  on_device(out.device(), copy_parts, copy_parts);
  return out;
}

Tensor slice_grad(const Tensor& dout, const Shape& shape, int dim, Index start, Index step) {
  check_float("slice_grad", "dout", dout);
  const int d = check_dim("slice_grad", dim, shape);
  check_rank("slice_grad", "dout", dout, shape.rank());
  check_shape("slice_grad", "dout", dout, shape.with(d, dout.dim(d)));
  Tensor dx = zeros(shape, dout.dtype(), dout.device());
  const Index stop = dout.dim(d) == 0 ? start : start + (dout.dim(d) - 1) * step + 1;
  const auto copy_part = [&](auto) {
    Tensor part = dx.slice(d, start, stop, step);
    copy(dout, part);
  };
  on_device(dx.device(), copy_part, copy_part);
  return dx;
}

Tensor index_select(const Tensor& x, int dim, const Tensor& index) {
  check_defined("index_select", "x", x);
  check_rank("index_select", "index", index, 1);
  const int d = check_dim("index_select", dim, x.shape());
  const Tensor picks = contiguous_index("index_select", "x", x, index);
  const Shape form = around(x.shape(), d);
  Tensor out = empty({form[0], index.size(), form[2]}, x.dtype(), x.device());
  const Tensor rows = x.contiguous().reshape(form);
  on_device(
      x.device(),
      [&](auto) {
        check_range("index_select", picks, x.dim(d));
        cpu::select_rows(rows, picks, out);
      },
      [&](auto) { cuda::select_rows(rows, picks, cuda::Complaint::index_select_index, out); });
  return out.reshape(x.shape().with(d, index.size()));
}

Tensor index_select_grad(const Tensor& dout, int dim, const Tensor& index, Index extent) {
  check_float("index_select_grad", "dout", dout);
  check_rank("index_select_grad", "index", index, 1);
  const int d = check_dim("index_select_grad", dim, dout.shape());
  check_shape("index_select_grad", "dout", dout, dout.shape().with(d, index.size()));
  const Tensor picks = contiguous_index("index_select_grad", "dout", dout, index);
  const Shape form = around(dout.shape(), d);
  Tensor dx = empty({form[0], extent, form[2]}, dout.dtype(), dout.device());
  const Tensor rows = dout.contiguous().reshape(form);
  on_device(
      dout.device(),
      [&](auto) {
        check_range("index_select_grad", picks, extent);
        cpu::add_rows(rows, picks, dx);
      },
      [&](auto) { cuda::add_rows(rows, picks, cuda::Complaint::index_select_index, dx); });
  return dx.reshape(dout.shape().with(d, extent));
}

Tensor gather(const Tensor& x, int dim, const Tensor& index) {
  check_defined("gather", "x", x);
  const int d = check_dim("gather", dim, x.shape());
  check_gather_index("gather", x.shape(), d, index);
  const Tensor picks = contiguous_index("gather", "x", x, index), from = x.contiguous();
  Tensor out = empty(index.shape(), x.dtype(), x.device());
  on_device(
      x.device(),
      [&](auto) {
        check_range("gather", picks, x.dim(d));
        cpu::gather(from, d, picks, out);
      },
      [&](auto) { cuda::gather(from, d, picks, out); });
  return out;
}

Tensor gather_grad(const Tensor& dout, int dim, const Tensor& index, const Shape& shape) {
  check_float("gather_grad", "dout", dout);
  const int d = check_dim("gather_grad", dim, shape);
  check_gather_index("gather_grad", shape, d, index);
  check_shape("gather_grad", "dout", dout, index.shape());
  const Tensor picks = contiguous_index("gather_grad", "dout", dout, index), from = dout.contiguous();
  Tensor dx = empty(shape, dout.dtype(), dout.device());
  on_device(
      dout.device(),
      [&](auto) {
        check_range("gather_grad", picks, shape[d]);
        cpu::gather_grad(from, d, picks, dx);
      },
      [&](auto) { cuda::gather_grad(from, d, picks, dx); });
  return dx;
}

}  // namespace subquad::kernels
