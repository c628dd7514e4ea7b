#include "subquad/nn/real_rows.h"

#include "subquad/autograd/ops/elementwise.h"

namespace subquad::nn {

Variable real_rows(const Variable& x, const Mask& mask) {
  if (!mask.defined()) return x;
  Tensor real = mask.real;                                            // [B, N]
  while (real.rank() < x.rank()) real = real.unsqueeze(real.rank());  // [B, N, 1, ...]
  return where(real, x, Variable(zeros({1}, x.dtype(), x.device())));
}

}  // namespace subquad::nn
