// Softmax attention of each query to given keys; see kernels/gathered_attention/gathered_attention.h for all rules.
#pragma once

#include "subquad/autograd/ops/attention.h"
#include "subquad/kernels/gathered_attention/gathered_attention.h"

namespace subquad {

using kernels::GatheredAttentionOptions;

// q [B, H, Nq, E], k [B, H, Nk, E], v [B, H, Nk, Ev]; index int64 [B, H, Nq, K], -1 = an empty slot; bias [B, H, Nq, K]
// is added to the logits, or undefined.
AttentionResult gathered_attention(const Variable& q, const Variable& k, const Variable& v, const Tensor& index,
                                   const Variable& bias = {}, const Mask& keys = {},
                                   const GatheredAttentionOptions& options = {});

}  // namespace subquad
