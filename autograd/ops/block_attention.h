// Attention to tokens and to summaries of blocks under one softmax, as a differentiable op; all rules are in
// kernels/block_attention/block_attention.h.
#pragma once

#include <vector>

#include "subquad/autograd/variable.h"
#include "subquad/kernels/block_attention/block_attention.h"

namespace subquad {

using kernels::BlockAttentionOptions;
using kernels::BlockKind;
using kernels::BlockPattern;
using kernels::LineSight;

struct BlockSummaries {
  Variable k, v;  // [B, H, S, E], [B, H, S, C]
};

struct BlockAttentionResult {
  Variable out;          // [B, H, Q, C], memory laid out as [B, Q, H, C]
  Variable lse;          // [B, H, Q]; -inf where a query is padded or sees nothing
  Tensor lse_rest = {};  // [B, H, Q], what lse lost by rounding
};

BlockAttentionResult block_attention(const Variable& q, const Variable& k, const Variable& v,
                                     const std::vector<BlockSummaries>& summaries, const BlockPattern& pattern,
                                     const Mask& mask = {}, const BlockAttentionOptions& options = {});

// block_attention(q, k, v, {{k_span, row.out}}, pattern, mask, options) of a rowmajor pattern that is not causal,
// without dropout, where `row` is block_attention(q, k, v, {}, {.kind = BlockKind::row}, mask, options): on the CPU
// what a query has seen of its row is taken up, not seen again, and no gradient of k and v is made here; on CUDA it is
// the plain one.
BlockAttentionResult block_attention_across(const Variable& q, const Variable& k, const Variable& v,
                                            const Variable& k_span, const BlockAttentionResult& row,
                                            const BlockPattern& pattern, const Mask& mask = {},
                                            const BlockAttentionOptions& options = {});

}  // namespace subquad
