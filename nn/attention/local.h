// Local attention: softmax over the neighbours alone, the baseline that says what a mechanism gains by looking further.
//
//   A[i, j] = softmax_j(q_i . k_j / sqrt(E)) over real positions j with |i - j| <= window (causal: and j <= i)
//
// Work: 4 N (2 window + 1) E flops per head. The local attention of Long Range Arena (Tay et al. 2021).
#pragma once

#include "subquad/nn/attention/qkv_attention.h"

namespace subquad::nn {

class LocalAttention : public QkvAttention {
 public:
  LocalAttention(const Place& place, const AttentionConfig& config);  // Error when the window is negative

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;

 private:
  Index window_;
  bool causal_;
};

}  // namespace subquad::nn
