// A linear layer whose matrix is a product of butterfly factors (Dao et al. 2019): 2 n log2(n) weights instead of n^2.
//
//   out = (first `outputs` features of  W_M ... W_1 x) + bias      n = 2^M, the power of two that holds both sizes
//   (W_m x)[i] = weight[m, i, 0] x[i] + weight[m, i, 1] x[i XOR 2^(m-1)]
//
// x is filled up with zeros to n features. Every output depends on every input. Weights start as N(0, 1/2), so that a
// factor keeps the size of what goes through; the bias starts at 0. Work: 4 n M flops per row.
#pragma once

#include "subquad/autograd/ops/chord_matmul.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

class ButterflyLinear : public Module {
 public:
  ButterflyLinear(const Place& place, Index inputs, Index outputs, bool bias = true);

  Variable operator()(const Variable& x) const;  // [..., inputs] -> [..., outputs]

 private:
  Index inputs_;
  Index outputs_;
  Index size_;  // n
  std::vector<Links> links_;
  Variable weight_;  // [M, n, 2]
  Variable bias_;    // [outputs], undefined without bias
};

}  // namespace subquad::nn
