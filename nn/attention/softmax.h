// Multi-head softmax attention, the exact reference: Vaswani et al. 2017, section 3.2.
//
//   A[i, j] = softmax_j(q_i . k_j / sqrt(E)) over real positions j (causal: j <= i)
//
// `dropout` falls on what the module puts out, behind the output projection; A, of which much code drops elements, is
// never stored, and has none.
#pragma once

#include "subquad/nn/attention/qkv_attention.h"

namespace subquad::nn {

class SoftmaxAttention : public QkvAttention {
 public:
  SoftmaxAttention(const Place& place, const AttentionConfig& config);

 protected:
  Variable mix(const AttentionInput& in, const Heads& heads, const Variable& values, bool draws) const override;

 private:
  bool causal_;
};

}  // namespace subquad::nn
