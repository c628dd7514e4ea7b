#include "subquad/autograd/ops/landmark_softmax.h"

#include "subquad/autograd/record.h"

namespace subquad {

Variable landmark_softmax(const Variable& x, const Tensor& counts, const Tensor& none,
                          const LandmarkSoftmaxOptions& options) {
  const Tensor y = kernels::landmark_softmax(x.value().contiguous(), counts, none, options);
  // dx = scale y (dout - sum dout y) where row and column count: from y alone
  return record("landmark_softmax", y, {x},
                [y = Saved(y), counts = Saved(counts), none = Saved(none), options](const Tensor& dout, Grads& grads) {
                  grads.add(0, kernels::landmark_softmax_grad(dout.contiguous(), y, counts, none, options));
                });
}

}  // namespace subquad
