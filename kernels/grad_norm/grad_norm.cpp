#include "subquad/kernels/grad_norm/grad_norm.h"

#include "subquad/core/check.h"
#include "subquad/kernels/grad_norm/cpu.h"
#include "subquad/kernels/grad_norm/cuda.h"

namespace subquad::kernels {

Tensor grad_norm(const Tensor& grad) {
  check_float("grad_norm", "grad", grad);
  check_contiguous("grad_norm", "grad", grad);
  Tensor norm = empty({1}, kFloat64, grad.device());
  on_device(
      grad.device(), [&](auto) { cpu::grad_norm(grad, norm); }, [&](auto) { cuda::grad_norm(grad, norm); });
  return norm;
}

Tensor clip_scale(const Tensor& norm, double max_norm) {
  check_dtype("clip_scale", "norm", norm, kFloat64);
  check_shape("clip_scale", "norm", norm, {1});
  if (!(max_norm > 0)) throw Error(cat("clip_scale: max_norm is ", max_norm, ", expected above 0"));
  Tensor scale = empty({1}, kFloat64, norm.device());
  on_device(
      norm.device(), [&](auto) { cpu::clip_scale(norm, max_norm, scale); },
      [&](auto) { cuda::clip_scale(norm, max_norm, scale); });
  return scale;
}

}  // namespace subquad::kernels
