#include "subquad/autograd/ops/circular.h"

#include "subquad/autograd/record.h"
#include "subquad/kernels/circular/circular.h"

namespace subquad {

// out[j] = sum_i a[i] b[j - i]:   da[i] = sum_j b[j - i] dout[j]   db[m] = sum_j a[j - m] dout[j]
Variable circular_convolve(const Variable& a, const Variable& b, const Mask& mask) {
  Tensor out = kernels::circular_convolve(a.value(), b.value(), mask);
  return record("circular_convolve", out, {a, b},
                [a = Saved(a), b = Saved(b), real = Saved(mask.real), lengths = Saved(mask.lengths)](const Tensor& dout,
                                                                                                     Grads& grads) {
                  const Mask same = {real, lengths, true};
                  const Tensor up = dout.contiguous();
                  if (grads.wanted(0)) grads.add(0, kernels::circular_correlate(b, up, same));
                  if (grads.wanted(1)) grads.add(1, kernels::circular_correlate(a, up, same));
                });
}

// out[t] = sum_i a[i] b[i + t]:   da[i] = sum_t dout[t] b[i + t]   db[j] = sum_t dout[t] a[j - t]
Variable circular_correlate(const Variable& a, const Variable& b, const Mask& mask) {
  Tensor out = kernels::circular_correlate(a.value(), b.value(), mask);
  return record("circular_correlate", out, {a, b},
                [a = Saved(a), b = Saved(b), real = Saved(mask.real), lengths = Saved(mask.lengths)](const Tensor& dout,
                                                                                                     Grads& grads) {
                  const Mask same = {real, lengths, true};
                  const Tensor up = dout.contiguous();
                  if (grads.wanted(0)) grads.add(0, kernels::circular_correlate(up, b, same));
                  if (grads.wanted(1)) grads.add(1, kernels::circular_convolve(up, a, same));
                });
}

}  // namespace subquad
