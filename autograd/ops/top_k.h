// The largest elements along the last axis as a differentiable op; see kernels/top_k/top_k.h.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

struct TopK {
  Variable values;  // [..., k], falling
  Tensor indices;   // int64 [..., k]
};
TopK top_k(const Variable& x, Index k);  // x [..., N]

}  // namespace subquad
