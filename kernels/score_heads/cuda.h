// CUDA kernels of score_heads.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include <span>

#include "subquad/kernels/score_heads/score_heads.h"

namespace subquad::kernels::cuda {

// One or two sets of heads of equal sizes, each with a feature of its own.
void score_heads(std::span<const Tensor> features, std::span<const ScoreHeads> heads, std::span<Tensor> scores);
void score_heads_grad(std::span<const Tensor> dscores, std::span<const Tensor> features,
                      std::span<const ScoreHeads> heads, std::span<ScoreHeadsGrads> grads);

}  // namespace subquad::kernels::cuda
