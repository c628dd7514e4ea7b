#include "subquad/autograd/ops/conv1d.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("conv1d gradients") {
  const Mask mask = Mask::from_lengths(tensor<Index>({7, 3}, {2}), 7).to(device());
  for (const Mask& seen : {Mask(), mask})
    for (const Index taps : {1, 3, 9}) {
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{conv1d(in[0], in[1], seen, in[2])}; },
                      {leaf({2, 2, 7, 3}, 1), leaf({2, taps}, 2), leaf({2, 2, 7, 3}, 3)});
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{conv1d(in[0], in[1], seen)}; },
                      {leaf({2, 1, 7, 2}, 4), leaf({1, taps}, 5)});
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{conv1d(in[0], in[1], seen, in[2], PaddedRows::zero)}; },
                      {leaf({2, 1, 7, 2}, 1), leaf({1, taps}, 2), leaf({2, 1, 7, 2}, 3)});
    }
}

}  // namespace
}  // namespace subquad::test
