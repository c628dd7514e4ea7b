#include "subquad/kernels/cross_entropy/cross_entropy.h"

#include "subquad/core/check.h"
#include "subquad/kernels/cross_entropy/cpu.h"
#include "subquad/kernels/cross_entropy/cuda.h"

namespace subquad::kernels {

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& labels, bool want_grad) {
  check_float("cross_entropy", "logits", logits);
  check_rank("cross_entropy", "logits", logits, 2);
  check_contiguous("cross_entropy", "logits", logits);
  check_dtype("cross_entropy", "labels", labels, kInt64);
  check_shape("cross_entropy", "labels", labels, {logits.dim(0)});
  check_contiguous("cross_entropy", "labels", labels);
  check_same_device("cross_entropy", "logits", logits, "labels", labels);
  CrossEntropy result;
  result.losses = empty({logits.dim(0)}, logits.dtype(), logits.device());
  if (want_grad) result.dlogits = empty_like(logits);
  on_device(
      logits.device(), [&](auto) { cpu::cross_entropy(logits, labels, result.losses, result.dlogits); },
      [&](auto) { cuda::cross_entropy(logits, labels, result.losses, result.dlogits); });
  return result;
}

Tensor cross_entropy_grad(const Tensor& dlosses, const Tensor& dlogits) {
  check_float("cross_entropy_grad", "dlogits", dlogits);
  check_rank("cross_entropy_grad", "dlogits", dlogits, 2);
  check_shape("cross_entropy_grad", "dlosses", dlosses, {dlogits.dim(0)});
  check_alike("cross_entropy_grad", "dlosses", dlosses, "dlogits", dlogits);
  Tensor dx = empty_like(dlogits);
  on_device(
      dlogits.device(), [&](auto) { cpu::cross_entropy_grad(dlosses, dlogits, dx); },
      [&](auto) { cuda::cross_entropy_grad(dlosses, dlogits, dx); });
  return dx;
}

}  // namespace subquad::kernels
