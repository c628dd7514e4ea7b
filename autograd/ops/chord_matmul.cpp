#include "subquad/autograd/ops/chord_matmul.h"

#include "subquad/autograd/record.h"

namespace subquad {

namespace {

// A mask as backward finds it again: noticed when somebody wrote into it.
struct SavedMask {
  Saved real, lengths;
  bool prefix;

  explicit SavedMask(const Mask& mask) : real(mask.real), lengths(mask.lengths), prefix(mask.prefix) {}
  Mask get() const { return {real, lengths, prefix}; }
};

void add(const kernels::ChordGrads& found, Grads& grads) {
  if (grads.wanted(0)) grads.add(0, found.dweights);
  if (grads.wanted(1)) grads.add(1, found.dvalues);
}

Variable record_one(const char* op, Tensor out, const Variable& weights, const Variable& values, const Links& links,
                    const Mask& mask, bool residual) {
  // dweights[b, i, k] = sum_d dout[b, i, d] values[b, col(i, k), d]
  // dvalues  [b, j]   = sum_k weights[b, row(j, k), k] dout[b, row(j, k)] + (residual: dout[b, j])
  return record(
      op, std::move(out), {weights, values},
      [w = Saved(weights), v = Saved(values), m = SavedMask(mask), links, residual](const Tensor& dout, Grads& grads) {
        add(kernels::chord_matmul_grad(dout.contiguous(), w, v, links, m.get(), residual), grads);
      });
}

}  // namespace

Variable chord_matmul(const Variable& weights, const Variable& values, const Links& links, const Mask& mask,
                      bool residual) {
  return record_one("chord_matmul", kernels::chord_matmul(weights.value(), values.value(), links, mask, residual),
                    weights, values, links, mask, residual);
}

Variable butterfly_matmul(const Variable& weights, const Variable& values, Index distance, const Mask& mask) {
  return record_one("butterfly_matmul", kernels::butterfly_matmul(weights.value(), values.value(), distance, mask),
                    weights, values, kernels::butterfly_links(distance), mask, false);
}

Variable chord_chain(const Variable& weights, const Variable& values, const std::vector<Links>& links,
                     MixResidual residual, const Mask& mask) {
  const bool keep = grad_enabled() && (weights.requires_grad() || values.requires_grad());
  const kernels::ChordChain chain = kernels::chord_chain(weights.value(), values.value(), links, residual, mask, keep);
  // G = dV_m for m = M ... 1:  dW_m at its links = G V_{m-1}^T,  dV_{m-1} = W_m^T G (+ G, or at last their sum)
  return record("chord_chain", chain.out, {weights, values},
                [w = Saved(weights), v = Saved(values), kept = Saved(chain.kept), m = SavedMask(mask), links, residual](
                    const Tensor& dout, Grads& grads) {
                  add(kernels::chord_chain_grad(dout.contiguous(), w, v, kept, links, residual, m.get()), grads);
                });
}

}  // namespace subquad
