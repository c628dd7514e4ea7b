// Softmax between landmarks of which some are left out (kernels/landmark_softmax).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/landmark_softmax/landmark_weights.h"

namespace subquad {

using kernels::LandmarkSoftmaxOptions;
using kernels::LeftOutRows;

// [B, H, M, M] -> [B, H, M, M]; counts bool [B, M], none bool [B], both may be undefined.
Variable landmark_softmax(const Variable& x, const Tensor& counts = {}, const Tensor& none = {},
                          const LandmarkSoftmaxOptions& options = {});

// The same of q k^T, q and k [B, H, M, E] (kernels/landmark_softmax/landmark_weights.h). q and k of the result are
// those given, for their other uses: gradients that reach them are added where those of the weights are made.
struct LandmarkWeights {
  Variable y, q, k;
};
LandmarkWeights landmark_weights(const Variable& q, const Variable& k, const Tensor& counts = {},
                                 const Tensor& none = {}, const LandmarkSoftmaxOptions& options = {});

}  // namespace subquad
