// The CPU kernels behind level_attention.h. Arguments are checked, every last stride is 1.
#pragma once

#include "subquad/kernels/level_attention/level_attention.h"

namespace subquad::kernels::cpu {

// Of `summaries` for q [B, H, N, E] and v [B, H, N, C].
Shape level_summaries(const Tensor& q, const Tensor& v);

void level_attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, const Mask& mask,
                     LevelAttentionOutput& result);

void level_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Tensor& summaries, bool causal, const Mask& mask, LevelAttentionGrads& grads);

}  // namespace subquad::kernels::cpu
