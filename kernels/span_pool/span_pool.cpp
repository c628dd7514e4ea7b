#include "subquad/kernels/span_pool/span_pool.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
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

}  // namespace

SpanPooled span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask) {
  check_inputs("span_pool", x, spans, mask);
  const Shape shape = {x.dim(0), spans.dim(1), x.dim(2)};
  SpanPooled result{empty(shape, x.dtype(), x.device()), {}};
  if (pool == SpanPool::max) result.arg = empty(shape, kInt64, x.device());
  const Tensor rows = with_unit_stride(x);
  on_device(
      x.device(), [&](auto) { cpu::span_pool(rows, spans, pool, mask, result); },
      [&](auto) { cuda::span_pool(rows, spans, pool, mask, result); });
  return result;
}

Tensor span_pool_grad(const Tensor& dout, const Tensor& x, const Tensor& spans, SpanPool pool,
                      const SpanPooled& forward, const Mask& mask) {
  constexpr const char* kOp = "span_pool_grad";
  check_inputs(kOp, x, spans, mask);
  const Shape shape = {x.dim(0), spans.dim(1), x.dim(2)};
  check_shape(kOp, "dout", dout, shape);
  check_same_kind(kOp, "x", x, "dout", dout);
  check_contiguous(kOp, "dout", dout);
  check_shape(kOp, "out", forward.out, shape);
  if (pool == SpanPool::max) check_shape(kOp, "arg", forward.arg, shape);
  check_same_kind(kOp, "x", x, "out", forward.out);
  const Tensor rows = with_unit_stride(x);
  Tensor dx = empty(x.shape(), x.dtype(), x.device());
  on_device(
      x.device(),
      [&](auto) {
        fill(dx, 0);
        cpu::span_pool_grad(dout, rows, spans, pool, forward, mask, dx);
      },
      [&](auto) { cuda::span_pool_grad(dout, rows, spans, pool, forward, mask, dx); });
  return dx;
}

}  // namespace subquad::kernels
