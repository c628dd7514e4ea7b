// The matrix that softmax attention would make of the same q and k: what an efficient attention is compared with.
//
//   A[i, j] = exp(q_i . k_j / sqrt(E)) / sum_l exp(q_i . k_l / sqrt(E))      over real positions l, causal: l <= i
//
//   q, k [B, H, N, E], float32 or float64, any device and strides   mask [B, N] or undefined
//   A [B, H, N, N], on the CPU, of the dtype of q; rows of padded queries, and columns of padded keys, are 0
//
// Logits and sums are float64. Work: 2 N N E flops per head.
#pragma once

#include "subquad/core/mask.h"

namespace subquad::inspect {

Tensor softmax_matrix(const Tensor& q, const Tensor& k, const Mask& mask = {}, bool causal = false);

}  // namespace subquad::inspect
