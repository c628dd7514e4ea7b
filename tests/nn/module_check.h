// What many module tests need: gradcheck that also moves the module's parameters, and non-trivial parameters.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/nn/module.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

// Where modules under test stand: on device(), with the same initial values everywhere.
inline nn::Place place(DType dtype, std::uint64_t seed = 11) {
  return {seed, dtype, device()};
}

using ModuleFn = std::function<Variable(const std::vector<Variable>& inputs)>;

// gradcheck of f with respect to its inputs (float64 leaves) and every parameter of the module that f calls.
GradcheckResult gradcheck_module(const nn::Module& module, const ModuleFn& f, std::vector<Variable> inputs = {});

// Draws every parameter anew, so that biases are not 0 and scales are not 1; the result does not depend on their order.
void randomise(const nn::Module& module, double deviation = 0.5);

// A RandomState for `batch` samples, numbered from `first`, at `step`.
RandomState random_state(Index batch, Index step = 1, Index first = 0);

// Real tokens first, then padding.
Mask prefix_mask(const std::vector<std::int64_t>& lengths, Index positions);

// Token ids in [0, vocabulary), int64 [batch, positions].
Tensor random_tokens(Index batch, Index positions, Index vocabulary, std::uint64_t seed);

}  // namespace subquad::test

#define CHECK_MODULE_GRADIENTS(...)                                                            \
  do {                                                                                         \
    const ::subquad::GradcheckResult result_ = ::subquad::test::gradcheck_module(__VA_ARGS__); \
    CHECK_MESSAGE(result_.passed, result_.message);                                            \
  } while (false)
