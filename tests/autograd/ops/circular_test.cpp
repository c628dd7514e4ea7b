#include "subquad/autograd/ops/circular.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("circular_convolve and circular_correlate gradients") {
  for (const Index n : {1, 2, 5, 8, 14}) {
    CAPTURE(n);
    const std::vector<Variable> inputs = {leaf({2, n, 3}, 1), leaf({2, n, 3}, 2)};
    const Mask half = Mask::from_lengths(tensor<Index>({n, n / 2}, {2}), n).to(device());
    for (const Mask& mask : {Mask(), half}) {
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{circular_convolve(in[0], in[1], mask)}; }, inputs);
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{circular_correlate(in[0], in[1], mask)}; }, inputs);
    }
  }
}

}  // namespace
}  // namespace subquad::test
