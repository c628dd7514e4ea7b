#include "subquad/autograd/ops/factor_mlp.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/factor_mlp/factor_mlp.h"

namespace subquad {

Variable factor_mlp(const Variable& x, const Variable& first, const Variable& first_bias, const Variable& second,
                    const Variable& second_bias, const Mask& mask) {
  const kernels::FactorMlp mlp = {first.value(), first_bias.value(), second.value(), second_bias.value()};
  // With z = x A + a, r = gelu(z), Y = dout and sums over rows, for each m:
  //   dC = r^T Y,  dc = sum Y,  dz = (Y C^T) gelu'(z),  dA = x^T dz,  da = sum dz;  dx = sum_m dz A^T
  return record(
      "factor_mlp", kernels::factor_mlp(x.value(), mlp, mask), {x, first, first_bias, second, second_bias},
      [x = Saved(x), a = Saved(first), a_bias = Saved(first_bias), c = Saved(second), c_bias = Saved(second_bias),
       real = Saved(mask.real), lengths = Saved(mask.lengths), prefix = mask.prefix](const Tensor& dout, Grads& grads) {
        const kernels::FactorMlpGrads g = kernels::factor_mlp_grad(dout.contiguous(), x, {a, a_bias, c, c_bias},
                                                                   {real, lengths, prefix}, grads.wanted(0));
        if (grads.wanted(0)) grads.add(0, g.dx);
        if (grads.wanted(1)) grads.add(1, g.mlp.first);
        if (grads.wanted(2)) grads.add(2, g.mlp.first_bias);
        if (grads.wanted(3)) grads.add(3, g.mlp.second);
        if (grads.wanted(4)) grads.add(4, g.mlp.second_bias);
      });
}

}  // namespace subquad
