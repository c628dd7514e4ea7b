#include "subquad/kernels/increment/cpu.h"

namespace subquad::kernels::cpu {

void increment(Tensor& count) {
  for (std::int64_t& n : count.span<std::int64_t>()) ++n;
}

}  // namespace subquad::kernels::cpu
