#include "subquad/autograd/ops/dropout.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/dropout/dropout.h"

namespace subquad {

Variable dropout(const Variable& x, double probability, const RandomState& random) {
  if (probability == 0) return x;
  // dx = dout keep / (1 - p), with the mask drawn again
  return record("dropout", kernels::dropout(x.value(), probability, random), {x},
                [probability, seed = random.seed, stream = random.stream, step = Saved(random.step),
                 samples = Saved(random.samples)](const Tensor& dout, Grads& grads) {
                  const RandomState same_draws = {seed, stream, step, samples};
                  grads.add(0, kernels::dropout_grad(dout.contiguous(), probability, same_draws));
                });
}

}  // namespace subquad
