// The softmax between landmarks, from the landmarks themselves.
//
//   y = landmark_softmax(q k^T)                           [B, H, M, M], see landmark_softmax.h
//   dq = dx k + use_of_q     dk = dx^T q + use_of_k       dx = landmark_softmax_grad(dout, y)
//
//   q, k, dq, dk, use_of_q, use_of_k [B, H, M, E]; float32 or float64, one device
//
// The uses are what reached q and k by other ways; undefined ones count as 0.
//
// Deterministic. On CUDA one launch, and one for the gradients, where q is float32 and M <= 64: these are multiplied in
// float32 itself, whatever precision() is. Elsewhere products, softmax and sums one after the other.
#pragma once

#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

namespace subquad::kernels {

Tensor landmark_weights(const Tensor& q, const Tensor& k, const Tensor& counts = {}, const Tensor& none = {},
                        const LandmarkSoftmaxOptions& options = {});

struct LandmarkGrads {
  Tensor dq, dk;
};
LandmarkGrads landmark_weights_grad(const Tensor& dout, const Tensor& y, const Tensor& q, const Tensor& k,
                                    const Tensor& use_of_q = {}, const Tensor& use_of_k = {}, const Tensor& counts = {},
                                    const Tensor& none = {}, const LandmarkSoftmaxOptions& options = {});

}  // namespace subquad::kernels
