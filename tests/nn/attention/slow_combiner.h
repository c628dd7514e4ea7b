// Combiner (nn/attention/combiner.h) by its index sets, loop by loop in double; shares nothing with the kernels.
#pragma once

#include "subquad/nn/attention/combiner.h"

namespace subquad::test::slow {

// The direct tokens of query i, and its spans; rowmajor's spans are named by the token that stands for the row.
struct Sets {
  std::vector<Index> direct;
  std::vector<std::vector<Index>> spans;
  std::vector<Index> tokens;
};
Sets combiner_sets(const nn::CombinerConfig& config, bool causal, Index i, Index n);

// out [B, H, N, C] of q, k [B, H, N, E], v [B, H, N, C].
Tensor combiner(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask, const nn::CombinerConfig& config,
                bool causal, const nn::CombinerLearned& learned);

}  // namespace subquad::test::slow
