#include "subquad/autograd/ops/linear.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/linear/linear.h"

namespace subquad {

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const Tensor b = bias.defined() ? bias.value() : Tensor();
  // dx      [..., I] = dout weight^T
  // dweight [I, O]   = sum over rows of x^T dout
  // dbias   [O]      = sum over rows of dout
  return record("linear", kernels::linear(x.value(), weight.value(), b), {x, weight, bias},
                [x = Saved(x), w = Saved(weight)](const Tensor& dout, Grads& grads) {
                  if (grads.wanted(0)) grads.add(0, kernels::linear(dout, w.get().transpose(0, 1), Tensor()));
                  if (grads.wanted(1)) grads.add(1, kernels::linear_grad_weight(dout, x));
                  if (grads.wanted(2)) grads.add(2, kernels::linear_grad_bias(dout));
                });
}

}  // namespace subquad
