#include "subquad/autograd/ops/bias_act_dropout.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable bias_act_dropout(const Variable& x, const Variable& bias, Activation activation, double p,
                          const RandomState& rng, const Variable& residual) {
  const Tensor more = residual.defined() ? residual.value() : Tensor();
  const Tensor shift = bias.defined() ? bias.value() : Tensor();
  kernels::KeptMask mask;
  const Tensor out =
      kernels::bias_act_dropout(x.value(), shift, activation, p, rng, more, grad_enabled() ? &mask : nullptr);
  // dx = dout keep / (1 - p) act'(x + bias)      dbias = sum of dx over all but the last dimension
  return record("bias_act_dropout", out, {x, bias, residual},
                [x = Saved(x), shift = Saved(shift), mask = Saved(mask.bits), step = Saved(rng.step),
                 samples = Saved(rng.samples), seed = rng.seed, stream = rng.stream, activation,
                 p](const Tensor& dout, Grads& grads) {
                  const RandomState same_draws = {seed, stream, step, samples};
                  const kernels::BiasActDropoutGrads g = kernels::bias_act_dropout_grad_parts(
                      dout.contiguous(), x, shift, activation, p, same_draws, {mask});
                  if (grads.wanted(0)) grads.add(0, g.dx);
                  if (grads.wanted(2)) grads.add(2, dout);
                  if (grads.wanted(1)) grads.add_parts(1, g.dbias);
                });
}

}  // namespace subquad
