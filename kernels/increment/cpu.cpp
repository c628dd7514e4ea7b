#include "subquad/kernels/increment/cpu.h"

#include <cmath>

namespace subquad::kernels::cpu {

void increment(Tensor& count, const Tensor& gate) {
  if (gate.defined() && std::isnan(gate.item<double>())) return;
  for (std::int64_t& n : count.span<std::int64_t>()) ++n;
}

}  // namespace subquad::kernels::cpu
