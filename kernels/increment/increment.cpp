#include "subquad/kernels/increment/increment.h"

#include "subquad/core/check.h"
#include "subquad/kernels/increment/cpu.h"
#include "subquad/kernels/increment/cuda.h"

namespace subquad::kernels {

void increment(Tensor& count) {
  check_defined("increment", "count", count);
  check_dtype("increment", "count", count, kInt64);
  check_contiguous("increment", "count", count);
  on_device(
      count.device(), [&](auto) { cpu::increment(count); }, [&](auto) { cuda::increment(count); });
  count.bump_version();
}

}  // namespace subquad::kernels
