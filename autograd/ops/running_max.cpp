#include "subquad/autograd/ops/running_max.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable running_max(const Variable& x, const RunningMaxOptions& options, const Mask& mask) {
  const Tensor out = kernels::running_max(x.value(), options, mask);
  return record("running_max", out, {x},
                [x = Saved(x), out = Saved(out), options, real = Saved(mask.real), lengths = Saved(mask.lengths),
                 prefix = mask.prefix](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::running_max_grad(dout.contiguous(), x, out, options, {real, lengths, prefix}));
                });
}

}  // namespace subquad
