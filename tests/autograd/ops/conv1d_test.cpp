#include "subquad/autograd/ops/conv1d.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/core/graph.h"
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

// The gradient of `base` alone, which is dout or, where padded rows are 0, dout without them.
Tensor base_gradient(const Mask& mask, PaddedRows padded, const Tensor& upstream) {
  const Variable x(normal(upstream.shape(), kFloat32, 1)), taps(normal({2, 3}, kFloat32, 2));
  const Variable base(normal(upstream.shape(), kFloat32, 3), true);
  backward(conv1d(x, taps, mask, base, padded), upstream);
  return base.grad();
}

TEST_CASE("conv1d where only the base has a gradient") {
  const Mask mask = Mask::from_lengths(tensor<Index>({7, 3}, {2}), 7).to(device());
  const Tensor upstream = normal({2, 2, 7, 3}, kFloat32, 4);
  Tensor real = upstream.clone(), padding = real.select(0, 1).slice(1, 3, 7);
  fill(padding, 0);
  for (const PaddedRows padded : {PaddedRows::kept, PaddedRows::zero}) {
    CHECK(same_bits(base_gradient({}, padded, upstream), upstream));
    CHECK(same_bits(base_gradient(mask, padded, upstream), padded == PaddedRows::zero ? real : upstream));
  }
}

TEST_SUITE("cuda") {
  TEST_CASE("conv1d launches nothing for a gradient that is what came") {
    const Mask mask = Mask::from_lengths(tensor<Index>({7, 3}, {2}), 7).to(device());
    const Tensor upstream = normal({2, 2, 7, 3}, kFloat32, 4);
    const Variable x(normal(upstream.shape(), kFloat32, 1)), taps(normal({2, 3}, kFloat32, 2));
    const Variable base(normal(upstream.shape(), kFloat32, 3), true);
    const auto forward = [&] { return conv1d(x, taps, mask, base); };
    const auto step = [&] { grad({forward()}, {base}, {upstream}); };
    step();
    synchronize(device());
    const std::size_t before = Graph::capture(device(), forward).size();
    CHECK_EQ(Graph::capture(device(), step).size() - before, 1);  // grad's results are copies
  }
}

}  // namespace
}  // namespace subquad::test
