#include "subquad/kernels/span_pool/span_pool.h"

#include "subquad/core/check.h"
#include "subquad/kernels/attention/arguments.h"
#include "subquad/kernels/span_pool/cpu.h"
#include "subquad/kernels/spans/spans.h"

namespace subquad::kernels {

namespace {

void check_inputs(const char* op, const Tensor& x, const Tensor& spans, const Mask& mask) {
  check_rank(op, "x", x, 3);
  check_on_cpu(op, "x", x);
  check_float(op, "x", x);
  check_spans(op, spans, x.dim(0));
  check_mask(op, mask, x.dim(0), x.dim(1));
}

}  // namespace

SpanPooled span_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask) {
  check_inputs("span_pool", x, spans, mask);
  const Shape shape = {x.dim(0), spans.dim(1), x.dim(2)};
  SpanPooled result{empty(shape, x.dtype(), x.device()), {}};
  if (pool == SpanPool::max) result.arg = empty(shape, kInt64, x.device());
  cpu::span_pool(with_unit_stride(x), spans, pool, mask, result);
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
  Tensor dx = zeros(x.shape(), x.dtype(), x.device());
  cpu::span_pool_grad(dout, with_unit_stride(x), spans, pool, forward, mask, dx);
  return dx;
}

}  // namespace subquad::kernels
