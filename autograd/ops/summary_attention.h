// Attention to tokens and to summaries that are made of them on the way, as one differentiable op: the parts are
// span_pool, span_attention and block_attention of kernels/, and all rules are theirs.
//
//   q_S, k_S = span_pool of q and k, head by head                      [B, H, S, E]
//   v_S = span_attention(q_S, k, v)                                    [B, H, S, C]
//   out, lse = block_attention(q, k, v, {(k_S, v_S)})                  [B, H, N, C], [B, H, N]
//
// q, k, v get gradients from two or three of them. Here each adds to what the one before it has left, in the order
// block_attention, span_attention, span_pool, as three ops would; on CUDA within its own launches: at least four fewer
// launches, and four fewer passes over a tensor, than by three ops.
#pragma once

#include "subquad/autograd/ops/block_attention.h"
#include "subquad/autograd/ops/span_attention.h"
#include "subquad/autograd/ops/span_pool.h"

namespace subquad {

// How summaries are made: row s of the table of the pattern is that of span s.
struct SpanSummaries {
  Tensor spans;  // kernels/spans
  SpanPool pool = SpanPool::max;
  Variable pooled_q = {}, pooled_k = {};  // [B, H, N, E], pooled in place of q and k; both or none
  SpanAttentionOptions attention = {};    // scale and dropout of v_S
};

struct SummaryAttentionResult {
  Variable out, lse;                // as of block_attention
  Variable q_span, k_span, v_span;  // q_S, k_S, v_S
};

// q, k [B, H, N, E], v [B, H, N, C]; a pattern of one summary table.
SummaryAttentionResult summary_attention(const Variable& q, const Variable& k, const Variable& v,
                                         const SpanSummaries& summaries, const BlockPattern& pattern,
                                         const Mask& mask = {}, const BlockAttentionOptions& options = {});

}  // namespace subquad
