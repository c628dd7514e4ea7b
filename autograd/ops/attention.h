// Exact softmax attention as a differentiable op with two outputs; see kernels/attention/attention.h for all rules.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/attention/attention.h"

namespace subquad {

using kernels::AttentionOptions;

struct AttentionResult {
  Variable out;  // [B, H, Nq, Ev], memory laid out as [B, Nq, H, Ev]
  Variable lse;  // [B, H, Nq], natural logarithm of the sum of exponentials; -inf where a query sees no key
};

// q [B, H, Nq, E], k [B, H, Nk, E], v [B, H, Nk, Ev]; `keys` [B, Nk] tells which keys are real,
// options.queries [B, Nq] which queries are computed.
AttentionResult attention(const Variable& q, const Variable& k, const Variable& v, const Mask& keys = {},
                          const AttentionOptions& options = {});

}  // namespace subquad
