#include "subquad/autograd/ops/segment_mean.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable segment_mean(const Variable& x, const Tensor& starts, const Mask& mask, MeanDivisor divisor) {
  // dx[i] = dout[segment of i] / divisor at real positions i                         [B, H, N, C]
  return record("segment_mean", kernels::segment_mean(x.value(), starts, mask, divisor), {x},
                [starts = Saved(starts), real = Saved(mask.real), lengths = Saved(mask.lengths), prefix = mask.prefix,
                 positions = x.dim(2), divisor](const Tensor& dout, Grads& grads) {
                  const Mask same_mask = {real, lengths, prefix};
                  grads.add(0, kernels::segment_mean_grad(dout, starts, positions, same_mask, divisor));
                });
}

}  // namespace subquad
