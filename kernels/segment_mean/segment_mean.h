// Means over consecutive segments: what many tokens become one landmark by.
//
//   out[b, h, j, :] = sum_i x[b, h, i, :] / divisor[b, j]        over the real positions i of segment j
//   dx[b, h, i, :] = dout[b, h, j, :] / divisor[b, j]            j the segment of i; 0 at padded positions
//
//   x [B, H, N, C]   starts [B, S + 1] (kernels/segments)   mask [B, N], undefined = every position is real
//   out [B, H, S, C]   dx [B, H, N, C], in memory [B, N, H, C]
//
// The divisor is the number of real positions, or that of all positions of the segment; an empty segment has mean 0.
// x: float32 or float64, any strides. Padded positions are not read.
//
// Deterministic: the real tokens of a segment are summed in their order (on the CPU), or, by their number within the
// segment, in 32 interleaved sums that are then added (on CUDA): a mean depends neither on padding nor on what stands
// outside of its segment. Reads x once. On CUDA `starts` that are no table of segments (kernels/segments) read nothing
// outside of x. Source: Xiong et al. 2021, equation 16, whose bound and divisor
// must read N / m.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class MeanDivisor { real, length };

Tensor segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask = {},
                    MeanDivisor divisor = MeanDivisor::real);
Tensor segment_mean_grad(const Tensor& dout, const Tensor& starts, Index positions, const Mask& mask = {},
                         MeanDivisor divisor = MeanDivisor::real);

}  // namespace subquad::kernels
