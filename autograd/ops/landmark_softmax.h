// Softmax between landmarks of which some are left out (kernels/landmark_softmax).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

namespace subquad {

using kernels::LandmarkSoftmaxOptions;
using kernels::LeftOutRows;

// [B, H, M, M] -> [B, H, M, M]; counts bool [B, M], none bool [B], both may be undefined.
Variable landmark_softmax(const Variable& x, const Tensor& counts = {}, const Tensor& none = {},
                          const LandmarkSoftmaxOptions& options = {});

}  // namespace subquad
