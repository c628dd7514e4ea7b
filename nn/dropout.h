// Dropout: while training, each element is 0 with probability p and scaled by 1 / (1 - p) otherwise.
//
// Each Dropout draws from a stream of its own, that of its path, so that two layers never share their masks. Where an
// element falls depends on seed, step, sample number, position and feature only (core/rng.h).
#pragma once

#include "subquad/core/rng.h"
#include "subquad/nn/linear.h"
#include "subquad/nn/module.h"

namespace subquad::nn {

class Dropout : public Module {
 public:
  Dropout(const Place& place, double p);  // Error unless 0 <= p < 1

  // x [B, ..., D]. In eval and with p = 0 it is x itself and `rng` may be undefined; else an undefined one is an Error.
  Variable operator()(const Variable& x, const RandomState& rng) const;

  // dropout(activation(map(x))) + residual, with the dropout and what stands before it done while a product is near.
  Variable after(const Linear& map, const Variable& x, kernels::Activation activation, const RandomState& rng,
                 const Variable& residual = {}) const;

 private:
  bool active(const RandomState& rng) const;

  double p_;
  std::uint64_t stream_;
};

}  // namespace subquad::nn
