// Attention on a grid to tokens and to summaries of what stands before or after each cell on its line, which are made
// on the way, as one differentiable op: the parts are running_max and block_attention of kernels/, and all rules are
// theirs. For each run, along rows or columns, of what stands before or after:
//
//   q_S, k_S = running_max of q and k, head by head                                [B, H, cells, E]
//   v_S = block_attention(q_S, k, v), of a row or column, before or after          [B, H, cells, C]
//   out, lse = block_attention(q, k, v, {(k_S, v_S) of each run})                  [B, H, N, C], [B, H, N]
//
// q, k, v get gradients from all of them. Here each adds to what the one before it has left: on the CPU four fewer
// passes over a tensor, and two fewer to zero one, for each run, than by three ops.
#pragma once

#include <vector>

#include "subquad/autograd/ops/block_attention.h"
#include "subquad/autograd/ops/running_max.h"

namespace subquad {

struct GridRun {
  GridAxis along = GridAxis::row;
  bool after = false;
  BlockAttentionOptions attention = {};  // scale and dropout of v_S
};

// q, k [B, H, N, E], v [B, H, N, C]; a pattern of as many summary tables as there are runs, in their order.
BlockAttentionResult grid_attention(const Variable& q, const Variable& k, const Variable& v,
                                    const std::vector<GridRun>& runs, const BlockPattern& pattern,
                                    const Mask& mask = {}, const BlockAttentionOptions& options = {});

}  // namespace subquad
