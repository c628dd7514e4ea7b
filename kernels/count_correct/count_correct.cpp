#include "subquad/kernels/count_correct/count_correct.h"

#include "subquad/core/check.h"
#include "subquad/kernels/count_correct/cpu.h"
#include "subquad/kernels/count_correct/cuda.h"

namespace subquad::kernels {

Tensor count_correct(const Tensor& logits, const Tensor& labels) {
  check_rank("count_correct", "logits", logits, 2);
  check_float("count_correct", "logits", logits);
  check_contiguous("count_correct", "logits", logits);
  check_shape("count_correct", "labels", labels, {logits.dim(0)});
  check_dtype("count_correct", "labels", labels, kInt64);
  check_contiguous("count_correct", "labels", labels);
  check_same_device("count_correct", "logits", logits, "labels", labels);
  Tensor count = zeros({1}, kInt32, logits.device());
  on_device(
      logits.device(), [&](auto) { cpu::count_correct(logits, labels, count); },
      [&](auto) { cuda::count_correct(logits, labels, count); });
  return count;
}

}  // namespace subquad::kernels
