// What the tests of Nystrom attention share: inputs, masks, a run forward and backward.
#pragma once

#include "subquad/nn/attention/nystrom.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::test::nystrom {

// Positions [from, to) of every sample and head.
Tensor part(const Tensor& x, Index from, Index to);

// Every third position is padded and, in the last sample, the second half.
Mask scattered_mask(Index batch, Index positions);

struct Inputs {
  Variable q, k, v, taps;  // taps undefined without a convolution
  Mask mask;

  Variable run(const nn::NystromConfig& config) const;
  std::vector<Variable> leaves() const;
};

// q, k, v of `shape` [B, H, N, E] and, if `taps` > 0, as many taps per head.
Inputs make_inputs(const Shape& shape, Index taps, const Mask& mask, DType dtype, std::uint64_t seed = 1);

// The output, and the gradients of everything for an upstream gradient.
std::vector<Tensor> run_back(const Inputs& in, const nn::NystromConfig& config, const Tensor& upstream);

}  // namespace subquad::test::nystrom
