#include "subquad/autograd/ops/conv1d.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/conv1d/conv1d.h"

namespace subquad {

Variable conv1d(const Variable& x, const Variable& taps, const Mask& mask, const Variable& base, PaddedRows padded) {
  const Tensor onto = base.defined() ? base.value() : Tensor();
  // dx[n] = sum_t taps[t] dout[n - t + K/2]   dtaps[t] = sum_n dout[n] x[n + t - K/2]   dbase = dout at rows that it
  // has
  return record("conv1d", kernels::conv1d(x.value(), taps.value(), mask, onto, padded), {x, taps, base},
                [x = Saved(x), taps = Saved(taps), real = Saved(mask.real), lengths = Saved(mask.lengths),
                 prefix = mask.prefix, padded](const Tensor& dout, Grads& grads) {
                  const bool own_dbase = padded == PaddedRows::zero && real.get().defined() && grads.wanted(2);
                  kernels::Conv1dGrads g;
                  if (grads.wanted(0) || grads.wanted(1) || own_dbase)
                    g = kernels::conv1d_grad(dout, x, taps, {real, lengths, prefix}, {padded, own_dbase, true});
                  if (grads.wanted(0)) grads.add(0, g.dx);
                  if (grads.wanted(1)) grads.add_parts(1, g.dtaps);
                  if (grads.wanted(2)) grads.add(2, own_dbase ? g.dbase : dout);
                });
}

}  // namespace subquad
