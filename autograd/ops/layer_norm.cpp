#include "subquad/autograd/ops/layer_norm.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/layer_norm/layer_norm.h"

namespace subquad {

// With xhat = (x - mean) rstd and dxhat = dout gamma, means over D:
//   dx = rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat))      dgamma = sum dout xhat      dbeta = sum dout

Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps) {
  const kernels::LayerNorm norm = kernels::layer_norm(x.value(), gamma.value(), beta.value(), eps);
  return record("layer_norm", norm.out, {x, gamma, beta},
                [x = Saved(x), gamma = Saved(gamma), mean = Saved(norm.mean), rstd = Saved(norm.rstd)](
                    const Tensor& dout, Grads& grads) {
                  const kernels::LayerNormGrads g =
                      kernels::layer_norm_grad_parts(dout.contiguous(), x, gamma, mean, rstd);
                  if (grads.wanted(0)) grads.add(0, g.dx);
                  if (grads.wanted(1)) grads.add_parts(1, g.dgamma);
                  if (grads.wanted(2)) grads.add_parts(2, g.dbeta);
                });
}

AddLayerNorm add_layer_norm(const Variable& x, const Variable& residual, const Variable& gamma, const Variable& beta,
                            double eps) {
  const kernels::AddLayerNorm norm =
      kernels::add_layer_norm(x.value(), residual.value(), gamma.value(), beta.value(), eps);
  // dx = dresidual = dsum + the gradient of layer_norm at sum
  const std::vector<Variable> outs = record("add_layer_norm", {norm.sum, norm.out}, {x, residual, gamma, beta},
                                            [sum = Saved(norm.sum), gamma = Saved(gamma), mean = Saved(norm.mean),
                                             rstd = Saved(norm.rstd)](std::span<const Tensor> douts, Grads& grads) {
                                              const Tensor dsum = douts[0].defined() ? douts[0].contiguous() : Tensor();
                                              if (!douts[1].defined()) {  // nothing used the normalised output
                                                if (grads.wanted(0)) grads.add(0, dsum);
                                                if (grads.wanted(1)) grads.add(1, dsum);
                                                return;
                                              }
                                              const kernels::LayerNormGrads g = kernels::layer_norm_grad_parts(
                                                  douts[1].contiguous(), sum, gamma, mean, rstd, dsum);
                                              if (grads.wanted(0)) grads.add(0, g.dx);
                                              if (grads.wanted(1)) grads.add(1, g.dx);
                                              if (grads.wanted(2)) grads.add_parts(2, g.dgamma);
                                              if (grads.wanted(3)) grads.add_parts(3, g.dbeta);
                                            });
  return {outs[0], outs[1]};
}

}  // namespace subquad
