// The CUDA kernels behind landmark_softmax.h and landmark_weights.h. Arguments are checked and outputs allocated by the
// caller.
#pragma once

#include "subquad/kernels/landmark_softmax/landmark_weights.h"

namespace subquad::kernels::cuda {

void landmark_softmax(const Tensor& x, const Tensor& counts, const Tensor& none, const LandmarkSoftmaxOptions& options,
                      Tensor& y);
void landmark_softmax_grad(const Tensor& dout, const Tensor& y, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, Tensor& dx);

// float32, at most 64 landmarks; q and k contiguous, uses of any strides.
void landmark_weights(const Tensor& q, const Tensor& k, const Tensor& counts, const Tensor& none,
                      const LandmarkSoftmaxOptions& options, Tensor& y);
void landmark_weights_grad(const Tensor& dout, const Tensor& y, const Tensor& q, const Tensor& k,
                           const Tensor& use_of_q, const Tensor& use_of_k, const Tensor& counts, const Tensor& none,
                           const LandmarkSoftmaxOptions& options, LandmarkGrads& grads);

}  // namespace subquad::kernels::cuda
