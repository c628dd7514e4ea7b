#include "subquad/kernels/hidden_cross/hidden_cross.h"

#include "subquad/core/check.h"
#include "subquad/core/prefix_mask.h"
#include "subquad/kernels/fft/fft.h"
#include "subquad/kernels/hidden_cross/cpu.h"
#include "subquad/kernels/hidden_cross/cuda.h"

namespace subquad::kernels {
namespace {

void check_inputs(const char* op, const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift) {
  check_rank(op, "a", a, 3);
  check_float(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_alike(op, "a", a, "b", b);
  check_prefix_mask(op, mask, a.dim(0), a.dim(1));
  if (mask.defined()) check_same_device(op, "a", a, "mask", mask.lengths);
  if (!shift.defined()) return;
  check_shape(op, "shift", shift, {a.dim(2)});
  check_alike(op, "a", a, "shift", shift);
}

void check_upstream(const char* op, const char* name, const Tensor& dout, const Tensor& a) {
  if (!dout.defined()) return;
  check_shape(op, name, dout, a.shape());
  check_alike(op, "a", a, name, dout);
}

}  // namespace

HiddenCross hidden_cross(const Tensor& a, const Tensor& b, const Mask& mask, const Tensor& shift, CyclicSpectra* keep) {
  check_inputs("hidden_cross", a, b, mask, shift);
  HiddenCross out = {empty_like(a), empty_like(a)};
  const CyclicSpectra room = keep != nullptr ? cpu::room_for_spectra(a, mask, "hidden_cross") : CyclicSpectra();
  on_device(
      a.device(), [&](auto) { cpu::hidden_cross(a, b, mask, shift, room, out); },
      [&](auto) { cuda::hidden_cross(a, b, mask, shift, out); }, hidden_cross_work(a.shape()));
  if (keep != nullptr) *keep = room;
  return out;
}

HiddenCrossGrads hidden_cross_grad(const Tensor& dlag, const Tensor& dcol, const Tensor& a, const Tensor& b,
                                   const Mask& mask, const Tensor& shift, const CyclicSpectra& spectra) {
  constexpr const char* kOp = "hidden_cross_grad";
  check_inputs(kOp, a, b, mask, shift);
  check_upstream(kOp, "dlag", dlag, a);
  check_upstream(kOp, "dcol", dcol, a);
  cpu::check_spectra(kOp, spectra, a, mask);
  const Tensor parts = shift.defined() ? empty({a.dim(0), a.dim(2)}, a.dtype(), a.device(), kOp) : Tensor();
  HiddenCrossGrads grads = {empty_like(a), empty_like(a), parts};
  const auto or_zeros = [&](const Tensor& dout) { return dout.defined() ? dout : zeros_like(a); };
  on_device(
      a.device(),
      [&](auto) { cpu::hidden_cross_grad(or_zeros(dlag), or_zeros(dcol), a, b, mask, shift, spectra, grads); },
      [&](auto) { cuda::hidden_cross_grad(dlag, dcol, a, b, mask, shift, grads); },
      hidden_cross_grad_work(a.shape(), spectra.a.defined()));
  return grads;
}

Flops hidden_cross_work(const Shape& shape) {
  return {real_transforms(3 * shape[0] * shape[2], shape[1]).count + 8 * static_cast<double>(shape.size())};
}

Flops hidden_cross_grad_work(const Shape& shape, bool from_spectra) {
  const Index transforms = (from_spectra ? 3 : 5) * shape[0] * shape[2];
  return {real_transforms(transforms, shape[1]).count + 16 * static_cast<double>(shape.size())};
}

}  // namespace subquad::kernels
