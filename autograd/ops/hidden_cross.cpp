#include "subquad/autograd/ops/hidden_cross.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"

namespace subquad {

HiddenCross hidden_cross(const Variable& a, const Variable& b, const Mask& mask, const Variable& shift) {
  const Tensor level = shift.defined() ? shift.value() : Tensor();
  const kernels::HiddenCross f = kernels::hidden_cross(a.value(), b.value(), mask, level);
  // The centred sequences and their spectra are made again from a and b: nothing else is kept.
  const auto backward = [a = Saved(a), b = Saved(b), real = Saved(mask.real), lengths = Saved(mask.lengths),
                         level = Saved(level)](std::span<const Tensor> douts, Grads& grads) {
    const auto rows = [](const Tensor& dout) { return dout.defined() ? dout.contiguous() : Tensor(); };
    const kernels::HiddenCrossGrads g =
        kernels::hidden_cross_grad(rows(douts[0]), rows(douts[1]), a, b, Mask{real, lengths, true}, level);
    if (grads.wanted(0)) grads.add(0, g.da);
    if (grads.wanted(1)) grads.add(1, g.db);
    if (grads.wanted(2)) grads.add_parts(2, g.dshift_parts);
  };
  const std::vector<Variable> outs = record("hidden_cross", {f.lag, f.col}, {a, b, shift}, backward);
  return {outs[0], outs[1]};
}

}  // namespace subquad
