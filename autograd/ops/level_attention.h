// Combiner's logsparse pattern as one op on the CPU; all rules are in kernels/level_attention/level_attention.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/level_attention/level_attention.h"

namespace subquad {

struct LevelAttentionResult {
  Variable out, lse;
};

// q, k [B, H, N, E], v [B, H, N, C] -> out [B, H, N, C], lse [B, H, N]
LevelAttentionResult level_attention(const Variable& q, const Variable& k, const Variable& v, bool causal,
                                     const Mask& mask = {});

}  // namespace subquad
