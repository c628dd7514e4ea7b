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

LandmarkWeights landmark_weights(const Variable& q, const Variable& k, const Tensor& counts, const Tensor& none,
                                 const LandmarkSoftmaxOptions& options) {
  const Tensor y = kernels::landmark_weights(q.value(), k.value(), counts, none, options);
  // dq = dx k and dk = dx^T q with landmark_softmax's dx, and what their other uses got
  const auto backward = [y = Saved(y), q = Saved(q), k = Saved(k), counts = Saved(counts), none = Saved(none), options](
                            std::span<const Tensor> douts, Grads& grads) {
    if (!douts[0].defined()) {
      for (const int i : {0, 1})
        if (grads.wanted(i) && douts[static_cast<std::size_t>(i) + 1].defined())
          grads.add(i, douts[static_cast<std::size_t>(i) + 1]);
      return;
    }
    const kernels::LandmarkGrads g =
        kernels::landmark_weights_grad(douts[0].contiguous(), y, q, k, douts[1], douts[2], counts, none, options);
    if (grads.wanted(0)) grads.add(0, g.dq);
    if (grads.wanted(1)) grads.add(1, g.dk);
  };
  const std::vector<Variable> results = record("landmark_weights", {y, q.value(), k.value()}, {q, k}, backward);
  return {results[0], results[1], results[2]};
}

}  // namespace subquad
