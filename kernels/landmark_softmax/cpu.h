// The CPU kernels behind landmark_softmax.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

namespace subquad::kernels::cpu {

void landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none, const LandmarkSoftmaxOptions& options,
                      Tensor& y);
void landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, Tensor& dx);

}  // namespace subquad::kernels::cpu
