// The local expectation of each span of positions; all rules are in kernels/span_attention/span_attention.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/span_attention/span_attention.h"

namespace subquad {

using kernels::SpanAttentionOptions;

// q [B, H, S, E], one for each span; k [B, H, N, E], v [B, H, N, C] -> [B, H, S, C]
Variable span_attention(const Variable& q, const Variable& k, const Variable& v, const Tensor& spans,
                        const Mask& mask = {}, const SpanAttentionOptions& options = {});

}  // namespace subquad
