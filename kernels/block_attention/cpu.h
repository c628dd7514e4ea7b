// The CPU kernels behind block_attention.h. Arguments are checked, every last stride is 1, options.scale is set.
#pragma once

#include "subquad/kernels/block_attention/block_attention.h"

namespace subquad::kernels::cpu {

void block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                     const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                     BlockAttentionOutput& result);

// All gradients but dq come zeroed, or with what is to be added to: shares are added to them.
void block_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<Summaries>& summaries, const BlockAttentionOutput& forward,
                          const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                          BlockAttentionGrads& grads);

// All gradients are written.
void block_attention_across(const Tensor& q, const Tensor& k_span, const BlockAttentionOutput& row,
                            const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                            BlockAttentionOutput& result);
void block_attention_across_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k_span,
                                 const BlockAttentionOutput& row, const BlockAttentionOutput& forward,
                                 const BlockPattern& pattern, const Mask& mask, const BlockAttentionOptions& options,
                                 BlockAttentionAcrossGrads& grads);

}  // namespace subquad::kernels::cpu
