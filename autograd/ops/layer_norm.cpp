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

namespace {

// Of two results, what was normalised and its norm: dx = dsum + the gradient of layer_norm, for each of the inputs up
// to gamma, which stands at `gamma_input`, beta behind it.
BackwardMany backward_of_both(const Tensor& x, const Variable& gamma_in, const Tensor& mean_in, const Tensor& rstd_in,
                              int gamma_input) {
  return [x = Saved(x), gamma = Saved(gamma_in), mean = Saved(mean_in), rstd = Saved(rstd_in), gamma_input](
             std::span<const Tensor> douts, Grads& grads) {
    Tensor dx = douts[0].defined() ? douts[0].contiguous() : Tensor();
    if (douts[1].defined()) {
      const kernels::LayerNormGrads g = kernels::layer_norm_grad_parts(douts[1].contiguous(), x, gamma, mean, rstd, dx);
      if (grads.wanted(gamma_input)) grads.add_parts(gamma_input, g.dgamma);
      if (grads.wanted(gamma_input + 1)) grads.add_parts(gamma_input + 1, g.dbeta);
      dx = g.dx;
    }
    for (int input = 0; input < gamma_input; ++input)
      if (grads.wanted(input)) grads.add(input, dx);
  };
}

}  // namespace

LayerNormBranch layer_norm_branch(const Variable& x, const Variable& gamma, const Variable& beta, double eps) {
  const kernels::LayerNorm norm = kernels::layer_norm(x.value(), gamma.value(), beta.value(), eps);
  const std::vector<Variable> outs = record("layer_norm_branch", {x.value(), norm.out}, {x, gamma, beta},
                                            backward_of_both(x.value(), gamma, norm.mean, norm.rstd, 1));
  return {outs[0], outs[1]};
}

AddLayerNorm add_layer_norm(const Variable& x, const Variable& residual, const Variable& gamma, const Variable& beta,
                            double eps) {
  const kernels::AddLayerNorm norm =
      kernels::add_layer_norm(x.value(), residual.value(), gamma.value(), beta.value(), eps);
  const std::vector<Variable> outs = record("add_layer_norm", {norm.sum, norm.out}, {x, residual, gamma, beta},
                                            backward_of_both(norm.sum, gamma, norm.mean, norm.rstd, 2));
  return {outs[0], outs[1]};
}

}  // namespace subquad
