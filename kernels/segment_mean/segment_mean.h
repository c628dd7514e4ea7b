// Means over consecutive segments: what many tokens become one landmark by.
//
//   out[b, h, j, :] = sum_i x[b, h, i, :] / divisor[b, j]        over the real positions i of segment j
//   dx[b, h, i, :] = dout[b, h, j, :] / divisor[b, j]            j the segment of i; 0 at padded positions
//                    + sum_u uses[u][b, h, i, :]                 what reached x by other ways, added in the same pass
//
//   x [B, H, N, C]   starts [B, S + 1] (kernels/segments)   mask [B, N], undefined = every position is real
//   out [B, H, S, C]   dx, uses [B, H, N, C], dx in memory [B, N, H, C]; on CUDA several alike, X of them, are
//   [B, N, X, H, C] together, so that linear_group takes those of queries, keys and values as one
//
// The divisor is the number of real positions, or that of all positions of the segment; an empty segment has mean 0.
// x: float32 or float64, any strides. Padded positions are not read.
//
// Deterministic: the real tokens of a segment are summed in their order (on the CPU), or, by their number within the
// segment, in 32 interleaved sums that are then added (on CUDA): a mean depends neither on padding nor on what stands
// outside of its segment; dx adds the first use, the share of the mean, then the other uses. Reads x and every use
// once; on CUDA one launch for up to three tensors that are cut alike, of any widths, with up to two uses. There
// `starts` that are no table of segments (kernels/segments) read nothing outside of x. Source: Xiong et al. 2021,
// equation 16, whose bound and divisor must read N / m.
#pragma once

#include <vector>

#include "subquad/kernels/segments/segments.h"

namespace subquad::kernels {

enum class MeanDivisor { real, length };

Tensor segment_mean(const Tensor& x, const Tensor& starts, const Mask& mask = {},
                    MeanDivisor divisor = MeanDivisor::real);
Tensor segment_mean_grad(const Tensor& dout, const Tensor& starts, Index positions, const Mask& mask = {},
                         MeanDivisor divisor = MeanDivisor::real);

// Of several x [B, H, N, C] alike but for their widths.
std::vector<Tensor> segment_means(const std::vector<Tensor>& xs, const Tensor& starts, const Mask& mask = {},
                                  MeanDivisor divisor = MeanDivisor::real);

// The same over even segments of the real tokens of `mask` (defined), whose table comes along: on CUDA from the same
// launch if it is a prefix mask and nothing is empty.
struct RealSegmentMeans {
  RealSegments cut;
  std::vector<Tensor> means;
};
RealSegmentMeans segment_means_of_real(const std::vector<Tensor>& xs, const Mask& mask, Index segments);

// One dx each; dout may be undefined where there is a use, and counts as 0.
struct MeanGrad {
  Tensor dout;
  std::vector<Tensor> uses = {};
};
std::vector<Tensor> segment_means_grad(const std::vector<MeanGrad>& grads, const Tensor& starts, Index positions,
                                       const Mask& mask = {}, MeanDivisor divisor = MeanDivisor::real);

}  // namespace subquad::kernels
