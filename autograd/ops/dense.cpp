#include "subquad/autograd/ops/dense.h"

#include "subquad/autograd/ops/bias_act_dropout.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/autograd/record.h"

namespace subquad {

Variable dense(const Variable& x, const Variable& weight, const Variable& bias, const DenseOptions& options,
               const Variable& residual) {
  if (!x.device().is_cpu())
    return bias_act_dropout(linear(x, weight, Variable()), bias, options.activation, options.p, options.rng, residual);
  const auto value = [](const Variable& v) { return v.defined() ? v.value() : Tensor(); };
  const Tensor shift = value(bias);
  const kernels::Dense forward =
      kernels::dense(x.value(), weight.value(), shift, options, value(residual), grad_enabled());
  // dz = dout keep / (1 - p) act'(z)      dx = dz weight^T      dweight = x^T dz      dbias = sum of dz over rows
  return record("dense", forward.out, {x, weight, bias, residual},
                [x = Saved(x), weight = Saved(weight), shift = Saved(shift), product = Saved(forward.product),
                 mask = Saved(forward.mask.bits), step = Saved(options.rng.step), samples = Saved(options.rng.samples),
                 options](const Tensor& dout, Grads& grads) {
                  DenseOptions same = options;
                  same.rng = {options.rng.seed, options.rng.stream, step, samples};
                  const kernels::DenseGrads g =
                      kernels::dense_grad_parts(dout.contiguous(), x, weight, shift, same, {{}, product, {mask}},
                                                grads.wanted(0), grads.wanted(1));
                  if (grads.wanted(0)) grads.add(0, g.dx);
                  if (grads.wanted(1)) grads.add_parts(1, g.dweight);
                  if (grads.wanted(2)) grads.add_parts(2, g.dbias);
                  if (grads.wanted(3)) grads.add(3, dout);
                });
}

}  // namespace subquad
