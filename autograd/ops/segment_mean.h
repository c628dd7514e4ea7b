// Means over consecutive segments (kernels/segment_mean).
#pragma once

#include <vector>

#include "subquad/autograd/variable.h"
#include "subquad/kernels/segment_mean/segment_mean.h"

namespace subquad {

using kernels::MeanDivisor;

// x [B, H, N, C], starts [B, S + 1] -> [B, H, S, C]
Variable segment_mean(const Variable& x, const Tensor& starts, const Mask& mask = {},
                      MeanDivisor divisor = MeanDivisor::real);

// Several at once, and x itself for its other uses: `uses` are x, each for one of them, so that the gradients which
// reach them are added where those of the mean are spread.
struct MeanInput {
  Variable x;        // [B, H, N, C], alike but for C
  bool mean = true;  // whether its mean is wanted at all
  std::size_t uses = 0;
};
struct MeanResult {
  Variable mean;  // [B, H, S, C], or undefined
  std::vector<Variable> uses;
};
// Over even segments of the real tokens, with the table of them (kernels/segments).
struct RealMeanResults {
  kernels::RealSegments cut;
  std::vector<MeanResult> results;
};
RealMeanResults segment_means_of_real(const std::vector<MeanInput>& inputs, const Mask& mask, Index segments);

std::vector<MeanResult> segment_means(const std::vector<MeanInput>& inputs, const Tensor& starts, const Mask& mask = {},
                                      MeanDivisor divisor = MeanDivisor::real);

}  // namespace subquad
