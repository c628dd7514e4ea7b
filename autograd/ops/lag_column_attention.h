// Softmax attention along chosen diagonals and columns, whose scores get gradients, too; see
// kernels/lag_column_attention/lag_column_attention.h for all rules.
#pragma once

#include "subquad/autograd/ops/attention.h"
#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

namespace subquad {

using kernels::LagColumnOptions;
using kernels::LagColumns;

struct LagColumnScores {
  Variable lag, col;  // [B, H, N]
};

// What the scores do in the logits (nn/attention/fsat.h).
enum class ScoreMode {
  straight_through,  // nothing: their value counts as 0, their gradient as that of a term of the logits
  bias,              // they are added
};

// q, k [B, H, N, E], v [B, H, N, Ev]; a prefix mask or none. With straight_through the gradients of the scores are by
// design not those of the result.
AttentionResult lag_column_attention(const Variable& q, const Variable& k, const Variable& v, const LagColumns& chosen,
                                     const LagColumnScores& scores, ScoreMode mode, const Mask& mask = {},
                                     const LagColumnOptions& options = {});

}  // namespace subquad
