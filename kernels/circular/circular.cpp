#include "subquad/kernels/circular/circular.h"

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/circular/cpu.h"
#include "subquad/kernels/circular/cuda.h"
#include "subquad/kernels/fft/fft.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& a, const Tensor& b, const Mask& mask) {
  check_rank(op, "a", a, 3);
  check_float(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_alike(op, "a", a, "b", b);
  check_prefix_mask(op, mask, a.dim(0), a.dim(1));
  if (mask.defined()) check_same_device(op, "a", a, "mask", mask.lengths);
}

Tensor circular(const char* op, const Tensor& a, const Tensor& b, const Mask& mask, bool correlate,
                CyclicSpectra* keep) {
  check_inputs(op, a, b, mask);
  Tensor out = empty(a.shape(), a.dtype(), a.device(), op);
  const CyclicSpectra room = keep != nullptr ? cpu::room_for_spectra(a, mask, op) : CyclicSpectra();
  on_device(
      a.device(), [&](auto) { cpu::circular(a, b, mask, correlate, room, out); },
      [&](auto) { cuda::circular(a, b, mask, correlate, out); }, circular_work(a.shape()), op);
  if (keep != nullptr) *keep = room;
  return out;
}

CircularGrads circular_grad(const char* op, const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask,
                            bool correlate, const CyclicSpectra& spectra) {
  check_inputs(op, a, b, mask);
  check_shape(op, "dout", dout, a.shape());
  check_alike(op, "a", a, "dout", dout);
  cpu::check_spectra(op, spectra, a, mask);
  CircularGrads grads = {empty(a.shape(), a.dtype(), a.device(), op), empty(a.shape(), a.dtype(), a.device(), op)};
  on_device(
      a.device(), [&](auto) { cpu::circular_grad(dout, a, b, mask, correlate, spectra, grads); },
      [&](auto) {
        correlate ? cuda::circular(dout, b, mask, true, grads.da) : cuda::circular(b, dout, mask, true, grads.da);
        correlate ? cuda::circular(dout, a, mask, false, grads.db) : cuda::circular(a, dout, mask, true, grads.db);
      },
      circular_grad_work(a.shape(), spectra.a.defined()), op);
  return grads;
}

}  // namespace

Tensor circular_convolve(const Tensor& a, const Tensor& b, const Mask& mask, CyclicSpectra* keep) {
  return circular("circular_convolve", a, b, mask, false, keep);
}

Tensor circular_correlate(const Tensor& a, const Tensor& b, const Mask& mask, CyclicSpectra* keep) {
  return circular("circular_correlate", a, b, mask, true, keep);
}

CircularGrads circular_convolve_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask,
                                     const CyclicSpectra& spectra) {
  return circular_grad("circular_convolve_grad", dout, a, b, mask, false, spectra);
}

CircularGrads circular_correlate_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask,
                                      const CyclicSpectra& spectra) {
  return circular_grad("circular_correlate_grad", dout, a, b, mask, true, spectra);
}

Flops circular_work(const Shape& shape) {
  return real_transforms(3 * shape[0] * shape[2], shape[1]);
}

Flops circular_grad_work(const Shape& shape, bool from_spectra) {
  return real_transforms((from_spectra ? 3 : 5) * shape[0] * shape[2], shape[1]);
}

}  // namespace subquad::kernels
