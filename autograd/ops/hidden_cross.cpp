#include "subquad/autograd/ops/hidden_cross.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/hidden_cross/hidden_cross.h"

namespace subquad {

HiddenCross hidden_cross(const Variable& a, const Variable& b, const Mask& mask, const Variable& shift) {
  const Tensor level = shift.defined() ? shift.value() : Tensor();
  const bool records = grad_enabled() && (a.requires_grad() || b.requires_grad());
  kernels::CyclicSpectra spectra;  // what is not kept in them is made again from a and b
  const kernels::HiddenCross f = kernels::hidden_cross(a.value(), b.value(), mask, level, records ? &spectra : nullptr);
  const auto backward = [a = Saved(a), b = Saved(b), a_kept = Saved(spectra.a), b_kept = Saved(spectra.b),
                         real = Saved(mask.real), lengths = Saved(mask.lengths),
                         level = Saved(level)](std::span<const Tensor> douts, Grads& grads) {
    const auto rows = [](const Tensor& dout) { return dout.defined() ? dout.contiguous() : Tensor(); };
    const kernels::HiddenCrossGrads g = kernels::hidden_cross_grad(rows(douts[0]), rows(douts[1]), a, b,
                                                                   Mask{real, lengths, true}, level, {a_kept, b_kept});
    if (grads.wanted(0)) grads.add(0, g.da);
    if (grads.wanted(1)) grads.add(1, g.db);
    if (grads.wanted(2)) grads.add_parts(2, g.dshift_parts);
  };
  const std::vector<Variable> outs = record("hidden_cross", {f.lag, f.col}, {a, b, shift}, backward);
  return {outs[0], outs[1]};
}

}  // namespace subquad
