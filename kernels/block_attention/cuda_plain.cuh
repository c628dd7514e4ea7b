// block_attention of any pattern, float dtype and head size by groups of eight lanes.
#pragma once

#include "subquad/kernels/block_attention/cuda_pattern.cuh"

namespace subquad::kernels::cuda {

void block_attention_plain(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Summaries>& summaries,
                           const Alive& alive, const BlockAttentionOptions& options, BlockAttentionOutput& result);

void block_attention_grad_plain(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const std::vector<Summaries>& summaries,
                                const BlockAttentionOutput& forward, const Alive& alive,
                                const BlockAttentionOptions& options, BlockAttentionGrads& grads);

}  // namespace subquad::kernels::cuda
