#include "subquad/kernels/circular/circular.h"

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/circular/cpu.h"
#include "subquad/kernels/circular/cuda.h"

namespace subquad::kernels {
namespace {

Tensor circular(const char* op, const Tensor& a, const Tensor& b, const Mask& mask, bool correlate) {
  check_rank(op, "a", a, 3);
  check_float(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_alike(op, "a", a, "b", b);
  check_prefix_mask(op, mask, a.dim(0), a.dim(1));
  if (mask.defined()) check_same_device(op, "a", a, "mask", mask.lengths);
  Tensor out = empty(a.shape(), a.dtype(), a.device(), op);
  on_device(
      a.device(), [&](auto) { cpu::circular(a, b, mask, correlate, out); },
      [&](auto) { cuda::circular(a, b, mask, correlate, out); }, op);
  return out;
}

}  // namespace

Tensor circular_convolve(const Tensor& a, const Tensor& b, const Mask& mask) {
  return circular("circular_convolve", a, b, mask, false);
}

Tensor circular_correlate(const Tensor& a, const Tensor& b, const Mask& mask) {
  return circular("circular_correlate", a, b, mask, true);
}

}  // namespace subquad::kernels
