// FSAT's score heads as one differentiable op; see kernels/score_heads/score_heads.h.
#pragma once

#include <array>

#include "subquad/autograd/variable.h"

namespace subquad {

// feature [B, N, H*R], u [H, R], w1 [H, R, M], b1 [H, M], w2 [H, M] -> score [B, H, N]
Variable score_heads(const Variable& feature, const Variable& u, const Variable& w1, const Variable& b1,
                     const Variable& w2);

// The same of two sets of heads, all sizes alike, in as many launches as one.
struct ScoreHeadsInputs {
  Variable feature, u, w1, b1, w2;
};
std::array<Variable, 2> score_heads_pair(const ScoreHeadsInputs& first, const ScoreHeadsInputs& second);

}  // namespace subquad
