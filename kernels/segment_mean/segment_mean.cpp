#include "subquad/kernels/segment_mean/segment_mean.h"

#include <algorithm>

#include "subquad/core/check.h"
#include "subquad/kernels/segment_mean/cpu.h"
#include "subquad/kernels/segment_mean/cuda.h"
#include "subquad/kernels/segments/segments.h"

namespace subquad::kernels {
namespace {

void check_cut(const char* op, const char* name, const Tensor& t, const Tensor& starts, Index positions,
               const Mask& mask) {
  check_same_device(op, name, t, "starts", starts);
  check_segments(op, starts, t.dim(0), positions);
  check_mask(op, mask, t.dim(0), positions);
  if (mask.defined()) check_same_device(op, name, t, "mask", mask.real);
}

// The features of a position must be contiguous.
Tensor with_unit_stride(const Tensor& t) {
  return t.strides().back() == 1 || t.dim(-1) == 1 ? t : t.contiguous();
}

// dx as its uses have it; a dout that is undefined leaves dx to them.
Shape gradient_shape(const char* op, const MeanGrad& grad, Index positions) {
  if (!grad.dout.defined() && grad.uses.empty())
    throw Error(cat(op, ": dout is undefined and there is no use, expected either"));
  const Tensor& like = grad.dout.defined() ? grad.dout : grad.uses[0];
  check_rank(op, grad.dout.defined() ? "dout" : "use", like, 4);
  check_float(op, grad.dout.defined() ? "dout" : "use", like);
  return like.shape().with(2, positions);
}

// Memory for gradients of that shape. On a GPU those of several tensors alike are [B, N, S, H, C] together: a
// position's rows side by side, as linear_group wants the gradients of queries, keys and values.
std::vector<Tensor> empty_gradients(const std::vector<Shape>& shapes, DType dtype, Device device) {
  std::vector<Tensor> dxs;
  const Index count = static_cast<Index>(shapes.size());
  const bool together = !device.is_cpu() && std::all_of(shapes.begin(), shapes.end(),
                                                        [&](const Shape& shape) { return shape == shapes[0]; });
  const Tensor all = together && count > 0
                         ? empty({shapes[0][0], shapes[0][2], count, shapes[0][1], shapes[0][3]}, dtype, device)
                         : Tensor();
  for (Index s = 0; s < count; ++s) {
    const Shape& shape = shapes[static_cast<std::size_t>(s)];
    const Tensor own = together ? all.select(2, s) : empty({shape[0], shape[2], shape[1], shape[3]}, dtype, device);
    dxs.push_back(own.transpose(1, 2));
  }
  return dxs;
}

void check_alike(const char* op, const char* name, const Tensor& t, const Tensor& first) {
  check_same_kind(op, "the first tensor", first, name, t);
  if (t.dim(0) != first.dim(0) || t.dim(1) != first.dim(1))
    throw ShapeError(cat(op, ": ", name, " is ", describe(t), ", expected [", first.dim(0), ", ", first.dim(1),
                         ", N, C] like the first"));
}

}  // namespace

std::vector<Tensor> segment_means(const std::vector<Tensor>& xs, const Tensor& starts, const Mask& mask,
                                  MeanDivisor divisor) {
  constexpr const char* kOp = "segment_mean";
  std::vector<Tensor> rows, outs;
  for (const Tensor& x : xs) {
    check_rank(kOp, "x", x, 4);
    check_float(kOp, "x", x);
    check_cut(kOp, "x", x, starts, x.dim(2), mask);
    check_alike(kOp, "x", x, xs[0]);
    check_shape(kOp, "x", x, xs[0].shape().with(3, x.dim(3)));
    rows.push_back(with_unit_stride(x));
    outs.push_back(empty({x.dim(0), x.dim(1), starts.dim(1) - 1, x.dim(3)}, x.dtype(), x.device()));
  }
  if (xs.empty()) return outs;
  on_device(
      xs[0].device(),
      [&](auto) {
        for (std::size_t i = 0; i < rows.size(); ++i) cpu::segment_mean(rows[i], starts, mask, divisor, outs[i]);
      },
      [&](auto) { cuda::segment_means(rows, starts, mask, divisor, outs); });
  return outs;
}

RealSegmentMeans segment_means_of_real(const std::vector<Tensor>& xs, const Mask& mask, Index segments) {
  constexpr const char* kOp = "segment_mean";
  const bool together = !xs.empty() && !xs[0].device().is_cpu() && mask.defined() && mask.prefix && segments > 0 &&
                        std::all_of(xs.begin(), xs.end(), [](const Tensor& x) { return x.size() > 0; });
  if (!together) {
    RealSegments cut = even_segments_of_real(mask, segments);
    std::vector<Tensor> means = segment_means(xs, cut.starts, mask);
    return {std::move(cut), std::move(means)};
  }
  RealSegmentMeans result{empty_real_segments(mask, segments), {}};
  std::vector<Tensor> rows;
  for (const Tensor& x : xs) {
    check_rank(kOp, "x", x, 4);
    check_float(kOp, "x", x);
    check_cut(kOp, "x", x, result.cut.starts, x.dim(2), mask);
    check_alike(kOp, "x", x, xs[0]);
    rows.push_back(with_unit_stride(x));
    result.means.push_back(empty({x.dim(0), x.dim(1), segments, x.dim(3)}, x.dtype(), x.device()));
  }
  on_device(
      xs[0].device(), [](auto) {}, [&](auto) { cuda::segment_means_of_real(rows, mask, result); });
  return result;
}

std::vector<Tensor> segment_means_grad(const std::vector<MeanGrad>& grads, const Tensor& starts, Index positions,
                                       const Mask& mask, MeanDivisor divisor) {
  constexpr const char* kOp = "segment_mean_grad";
  if (grads.empty()) return {};
  std::vector<MeanGrad> rows;
  std::vector<Shape> shapes;
  const Tensor& first = grads[0].dout.defined() || grads[0].uses.empty() ? grads[0].dout : grads[0].uses[0];
  for (const MeanGrad& grad : grads) {
    const Shape shape = gradient_shape(kOp, grad, positions);
    const Tensor& like = grad.dout.defined() ? grad.dout : grad.uses[0];
    check_cut(kOp, "dout", like, starts, positions, mask);
    MeanGrad own;
    if (grad.dout.defined()) {
      check_shape(kOp, "dout", grad.dout, shape.with(2, starts.dim(1) - 1));
      own.dout = grad.dout.contiguous();
    }
    for (const Tensor& use : grad.uses) {
      check_same_kind(kOp, "dout", like, "use", use);
      check_shape(kOp, "use", use, shape);
      own.uses.push_back(with_unit_stride(use));
    }
    check_alike(kOp, "dout", like, first);
    shapes.push_back(shape);
    rows.push_back(std::move(own));
  }
  std::vector<Tensor> dxs = empty_gradients(shapes, first.dtype(), first.device());
  on_device(
      first.device(),
      [&](auto) {
        for (std::size_t i = 0; i < rows.size(); ++i) cpu::segment_mean_grad(rows[i], starts, mask, divisor, dxs[i]);
      },
      [&](auto) { cuda::segment_means_grad(rows, starts, mask, divisor, dxs); });
  return dxs;
}

Tensor segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor) {
  return segment_means({x}, starts, mask, divisor)[0];
}

Tensor segment_mean_grad(const Tensor& dout, const Tensor& starts, Index positions, const Mask& mask,
                         MeanDivisor divisor) {
  check_defined("segment_mean_grad", "dout", dout);
  return segment_means_grad({{dout}}, starts, positions, mask, divisor)[0];
}

}  // namespace subquad::kernels
