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
  Variable out;  // [B, H, Q, C], memory laid out as [B, Q, H, C]
  Variable lse;  // [B, H, Q]; -inf where a query is padded or sees nothing
};

BlockAttentionResult block_attention(const Variable& q, const Variable& k, const Variable& v,
                                     const std::vector<BlockSummaries>& summaries, const BlockPattern& pattern,
                                     const Mask& mask = {}, const BlockAttentionOptions& options = {});

}  // namespace subquad
