// CUDA kernels of score_heads.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/score_heads/score_heads.h"

namespace subquad::kernels::cuda {

void score_heads(const Tensor& feature, const ScoreHeads& heads, Tensor& score);
void score_heads_grad(const Tensor& dscore, const Tensor& feature, const ScoreHeads& heads, ScoreHeadsGrads& grads);

}  // namespace subquad::kernels::cuda
