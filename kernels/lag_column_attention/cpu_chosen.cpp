#include "subquad/kernels/lag_column_attention/cpu.h"

namespace subquad::kernels {

void cpu::check_chosen(const char* op, const char* name, const Tensor& chosen, const Mask& mask, Index positions) {
  const Index heads = chosen.dim(1), count = chosen.dim(2);
  for (Index head = 0; head < chosen.dim(0) * heads; ++head) {
    const Index b = head / heads, n = mask.defined() ? mask.lengths.data<Index>()[b] : positions;
    const Index* list = chosen.data<Index>() + head * count;
    for (Index s = 0; s < count; ++s) {
      const bool ended = s > 0 && list[s - 1] == -1;
      const bool rises = list[s] >= 0 && list[s] < n && (s == 0 || list[s] > list[s - 1]);
      if (list[s] != -1 && (ended || !rises))
        throw Error(cat(op, ": ", name, "[", b, ", ", head % heads, ", ", s, "] is ", list[s], ", expected ", name,
                        " to be rising numbers from 0 to ", n - 1, " (the sample has ", n, " positions), then -1"));
    }
  }
}

}  // namespace subquad::kernels
