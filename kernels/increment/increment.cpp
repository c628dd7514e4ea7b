#include "subquad/kernels/increment/increment.h"

#include "subquad/core/check.h"
#include "subquad/kernels/increment/cpu.h"
#include "subquad/kernels/increment/cuda.h"

namespace subquad::kernels {

void increment(Tensor& count, const Tensor& gate) {
  check_defined("increment", "count", count);
  check_dtype("increment", "count", count, kInt64);
  check_contiguous("increment", "count", count);
  if (gate.defined()) {
    check_shape("increment", "gate", gate, {1});
    check_dtype("increment", "gate", gate, kFloat64);
    check_same_device("increment", "count", count, "gate", gate);
  }
  on_device(
      count.device(), [&](auto) { cpu::increment(count, gate); }, [&](auto) { cuda::increment(count, gate); });
  count.bump_version();
}

}  // namespace subquad::kernels
