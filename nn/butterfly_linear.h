// A linear layer whose matrix is a product of butterfly factors (Dao et al. 2019): 2 n log2(n) weights instead of n^2.
//
//   out = (first `outputs` features of  W_M ... W_1 x) + bias          n = max(inputs, outputs), M = ceil(log2 n)
//   (W_m x)[i] = weight[m, i, 0] x[i] + weight[m, i, 1] x[i XOR 2^(m-1)]
//
// x is filled up with zeros to n features; where n is no power of two a partner beyond it drops out. Every output
// depends on every input. Weights start as N(0, 1/2), so that a factor keeps the size of what goes through; the bias
// starts at 0. Work: 4 n M flops per row.
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
  std::vector<Links> links_;
  Variable weight_;  // [M, n, 2]
  Variable bias_;    // [outputs], undefined without bias
};

}  // namespace subquad::nn
