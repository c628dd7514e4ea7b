#include "subquad/autograd/ops/circular.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/circular/circular.h"

namespace subquad {

namespace {

// What both gradients take part in is made once where both are wanted, and before that kept by forward.
bool wants_both(const Variable& a, const Variable& b) {
  return grad_enabled() && a.requires_grad() && b.requires_grad();
}

template <class Both, class First, class Second>
void add_grads(Grads& grads, const Both& both, const First& da, const Second& db) {
  if (grads.wanted(0) && grads.wanted(1)) {
    const kernels::CircularGrads g = both();
    grads.add(0, g.da);
    grads.add(1, g.db);
  } else if (grads.wanted(0)) {
    grads.add(0, da());
  } else if (grads.wanted(1)) {
    grads.add(1, db());
  }
}

}  // namespace

// out[j] = sum_i a[i] b[j - i]:   da[i] = sum_j b[j - i] dout[j]   db[m] = sum_j a[j - m] dout[j]
Variable circular_convolve(const Variable& a, const Variable& b, const Mask& mask) {
  kernels::CyclicSpectra spectra;
  Tensor out = kernels::circular_convolve(a.value(), b.value(), mask, wants_both(a, b) ? &spectra : nullptr);
  return record("circular_convolve", out, {a, b},
                [a = Saved(a), b = Saved(b), a_kept = Saved(spectra.a), b_kept = Saved(spectra.b),
                 real = Saved(mask.real), lengths = Saved(mask.lengths)](const Tensor& dout, Grads& grads) {
                  const Mask same = {real, lengths, true};
                  const Tensor up = dout.contiguous();
                  add_grads(
                      grads,
                      [&] {
                        return kernels::circular_convolve_grad(up, a, b, same, {a_kept, b_kept});
                      },
                      [&] { return kernels::circular_correlate(b, up, same); },
                      [&] { return kernels::circular_correlate(a, up, same); });
                });
}

// out[t] = sum_i a[i] b[i + t]:   da[i] = sum_t dout[t] b[i + t]   db[j] = sum_t dout[t] a[j - t]
Variable circular_correlate(const Variable& a, const Variable& b, const Mask& mask) {
  kernels::CyclicSpectra spectra;
  Tensor out = kernels::circular_correlate(a.value(), b.value(), mask, wants_both(a, b) ? &spectra : nullptr);
  return record("circular_correlate", out, {a, b},
                [a = Saved(a), b = Saved(b), a_kept = Saved(spectra.a), b_kept = Saved(spectra.b),
                 real = Saved(mask.real), lengths = Saved(mask.lengths)](const Tensor& dout, Grads& grads) {
                  const Mask same = {real, lengths, true};
                  const Tensor up = dout.contiguous();
                  add_grads(
                      grads,
                      [&] {
                        return kernels::circular_correlate_grad(up, a, b, same, {a_kept, b_kept});
                      },
                      [&] { return kernels::circular_correlate(up, b, same); },
                      [&] { return kernels::circular_convolve(up, a, same); });
                });
}

}  // namespace subquad
