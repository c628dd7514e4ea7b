#include "subquad/kernels/span_pool/span_pool.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/span_pool/cpu.h"
#include "subquad/kernels/span_pool/cuda.h"
#include "subquad/kernels/spans/spans.h"

namespace subquad::kernels {

namespace {

void check_inputs(const char* op, const Tensor& x, const Tensor& spans, const Mask& mask) {
  check_rank(op, "x", x, 3);
  check_float(op, "x", x);
  check_spans(op, spans, x.dim(0));
  check_same_device(op, "x", x, "spans", spans);
  check_mask(op, mask, x.dim(0), x.dim(1));
  if (mask.defined()) check_same_device(op, "x", x, "mask", mask.real);
}

SpanPooled empty_result(const Tensor& x, const Tensor& spans, SpanPool pool) {
  const Shape shape = {x.dim(0), spans.dim(1), x.dim(2)};
  SpanPooled result{empty(shape, x.dtype(), x.device()), {}};
  if (pool == SpanPool::max) result.arg = empty(shape, kInt64, x.device());
  return result;
}

void check_gradient(const char* op, const SpanPoolGrad& grad, const Tensor& spans, SpanPool pool, const Mask& mask) {
  const Tensor& x = grad.x;
  check_inputs(op, x, spans, mask);
  const Shape shape = {x.dim(0), spans.dim(1), x.dim(2)};
  check_shape(op, "dout", grad.dout, shape);
  check_same_kind(op, "x", x, "dout", grad.dout);
  check_contiguous(op, "dout", grad.dout);
  check_shape(op, "out", grad.forward.out, shape);
  if (pool == SpanPool::max) check_shape(op, "arg", grad.forward.arg, shape);
  check_same_kind(op, "x", x, "out", grad.forward.out);
}

void check_pair(const char* op, const Tensor& a, const Tensor& b) {
  check_shape(op, "the second x", b, a.shape());
  check_same_kind(op, "the first x", a, "the second x", b);
}

Tensor grad_on_cpu(const SpanPoolGrad& grad, const Tensor& spans, SpanPool pool, const Mask& mask) {
  Tensor dx = zeros(grad.x.shape(), grad.x.dtype(), grad.x.device());
  cpu::span_pool_grad(grad.dout, grad.x, spans, pool, grad.forward, mask, dx);
  return dx;
}

}  // namespace

SpanPooled span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask) {
  check_inputs("span_pool", x, spans, mask);
  SpanPooled result = empty_result(x, spans, pool);
  const Tensor rows = with_unit_stride(x);
  on_device(
      x.device(), [&](auto) { cpu::span_pool(rows, spans, pool, mask, result); },
      [&](auto) {
        cuda::span_pool({&rows, 1}, spans, pool, mask, {&result, 1});
      },
      span_pool_work(x.shape(), spans));
  return result;
}

std::array<SpanPooled, 2> span_pool(const std::array<Tensor, 2>& xs, const Tensor& spans, SpanPool pool,
                                    const Mask& mask) {
  for (const Tensor& x : xs) check_inputs("span_pool", x, spans, mask);
  check_pair("span_pool", xs[0], xs[1]);
  const std::array<Tensor, 2> rows = {with_unit_stride(xs[0]), with_unit_stride(xs[1])};
  std::array<SpanPooled, 2> results = {empty_result(xs[0], spans, pool), empty_result(xs[1], spans, pool)};
  on_device(
      xs[0].device(),
      [&](auto) {
        for (std::size_t i = 0; i < 2; ++i) cpu::span_pool(rows[i], spans, pool, mask, results[i]);
      },
      [&](auto) { cuda::span_pool(rows, spans, pool, mask, results); },
      Flops{2 * span_pool_work(xs[0].shape(), spans).count});
  return results;
}

Tensor span_pool_grad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool,
                      const SpanPooled& forward, const Mask& mask) {
  SpanPoolGrad grad{dout, x, forward, {}};
  check_gradient("span_pool_grad", grad, spans, pool, mask);
  grad.x = with_unit_stride(x);
  on_device(
      x.device(), [&](auto) { grad.dx = grad_on_cpu(grad, spans, pool, mask); },
      [&](auto) {
        grad.dx = empty(x.shape(), x.dtype(), x.device());
        cuda::span_pool_grad({&grad, 1}, spans, pool, mask, false);
      },
      span_pool_work(x.shape(), spans));
  return grad.dx;
}

void span_pool_add_grads(std::array<SpanPoolGrad, 2>& grads, const Tensor& spans, SpanPool pool, const Mask& mask) {
  constexpr const char* kOp = "span_pool_add_grads";
  for (SpanPoolGrad& grad : grads) {
    check_gradient(kOp, grad, spans, pool, mask);
    check_shape(kOp, "dx", grad.dx, grad.x.shape());
    check_alike(kOp, "dout", grad.dout, "dx", grad.dx);
  }
  check_pair(kOp, grads[0].x, grads[1].x);
  for (SpanPoolGrad& grad : grads) grad.x = with_unit_stride(grad.x);
  on_device(
      grads[0].x.device(),
      [&](auto) {
        for (SpanPoolGrad& grad : grads) add_into(grad.dx, grad_on_cpu(grad, spans, pool, mask));
      },
      [&](auto) {
        cuda::span_pool_grad(grads, spans, pool, mask, true);
        for (SpanPoolGrad& grad : grads) grad.dx.bump_version();
      },
      Flops{2 * span_pool_work(grads[0].x.shape(), spans).count});
}

Flops span_pool_work(const Shape& x, const Tensor& spans) {
  return {spanned_positions(spans, x[0], x[1]) * static_cast<double>(x[2])};
}

}  // namespace subquad::kernels
