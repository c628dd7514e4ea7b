#include "subquad/autograd/ops/pinv.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable pinv(const Variable& a, const PinvOptions& options) {
  const Tensor matrices = a.value().contiguous();
  const kernels::PinvOutput f = kernels::pinv(matrices, options, grad_enabled() && a.requires_grad());
  // Back through the steps Z_0 ... Z_{T-1}, which are kept; their factors, too, or they are computed again.
  return record("pinv", f.out, {a},
                [matrices = Saved(matrices), steps = Saved(f.steps), factors = Saved(f.factors), options](
                    const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::pinv_grad(dout.contiguous(), matrices, {{}, steps, factors}, options));
                });
}

}  // namespace subquad
