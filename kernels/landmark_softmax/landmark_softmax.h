// Softmax of the logits between a sample's landmarks, some of which may be left out.
//
//   y[b, h, i, j] = exp(scale x[b, h, i, j]) / sum_k exp(scale x[b, h, i, k])   over the k that count, if i and j count
//   y[b, h, i, :] of an i that does not: the row of the identity, or 1 / M everywhere; other elements are 0
//   dx[b, h, i, j] = scale y[j] (dout[j] - sum_k dout[k] y[k]), both of row i, if i and j count; else 0
//
//   x, y, dout, dx [B, H, M, M]   counts [B, M] and none [B], bool, undefined or contiguous
//
// A landmark counts if `counts` says so (undefined: all do) and `none` does not leave out its whole sample. Logits that
// do not count are not read. float32 or float64, contiguous, one device.
//
// Deterministic: one writer per row. Reads x and writes y once; the same bits for a sample whatever else is in the
// batch.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class LeftOutRows { identity, uniform };

struct LandmarkSoftmaxOptions {
  double scale = 1;
  LeftOutRows left_out = LeftOutRows::identity;
};

Tensor landmark_softmax(const Tensor& x, const Tensor& counts = {}, const Tensor& none = {},
                        const LandmarkSoftmaxOptions& options = {});
Tensor landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts = {}, const Tensor& none = {},
                             const LandmarkSoftmaxOptions& options = {});

}  // namespace subquad::kernels
