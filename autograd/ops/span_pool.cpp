#include "subquad/autograd/ops/span_pool.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable span_pool(const Variable& x, const Tensor& spans, SpanPool pool, const Mask& mask) {
  const kernels::SpanPooled f = kernels::span_pool(x.value(), spans, pool, mask);
  // max: to the position that attained it; mean, sum, log_sum_exp: to all, by 1 / count, 1, exp(x - out)
  return record(
      "span_pool", f.out, {x},
      [x = Saved(x), spans = Saved(spans), pool, out = Saved(f.out), arg = Saved(f.arg), real = Saved(mask.real),
       lengths = Saved(mask.lengths), prefix = mask.prefix](const Tensor& dout, Grads& grads) {
        grads.add(0, kernels::span_pool_grad(dout.contiguous(), x, spans, pool, {out, arg}, {real, lengths, prefix}));
      });
}

}  // namespace subquad
