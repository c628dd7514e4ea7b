// Multi-head softmax attention, the exact reference: Vaswani et al. 2017, section 3.2.
//
//   q, k, v = x Wq + bq, ...              head h owns columns h E ... h E + E - 1
//   A[i, j] = softmax_j(q_i . k_j / sqrt(E)) over real positions j (causal: j <= i)
//   out = dropout(concat_h(A V) Wo + bo)
#pragma once

#include "subquad/nn/attention/attention.h"
#include "subquad/nn/dropout.h"
#include "subquad/nn/linear.h"

namespace subquad::nn {

class SoftmaxAttention : public Attention {
 public:
  SoftmaxAttention(const Place& place, const AttentionConfig& config);

 protected:
  Variable project(const AttentionInput& in) const override;
  Variable mix(const AttentionInput& in, const Variable& values) const override;
  Variable output(const AttentionInput& in, const Variable& mixed) const override;

 private:
  Variable split(const Variable& x) const;  // [B, N, H E] -> [B, H, N, E], a view

  bool causal_;
  Linear query_;
  Linear key_;
  Linear value_;
  Linear out_;
  Dropout dropout_;
};

}  // namespace subquad::nn
