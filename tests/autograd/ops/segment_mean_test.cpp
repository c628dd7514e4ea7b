#include "subquad/autograd/ops/segment_mean.h"

#include <doctest/doctest.h>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/kernels/segments/segments.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("segment_mean gradients") {
  const Mask mask = Mask::from_lengths(tensor<Index>({9, 4}, {2}), 9).to(device());
  for (const Mask& seen : {Mask(), mask})
    for (const MeanDivisor divisor : {MeanDivisor::real, MeanDivisor::length}) {
      const Tensor starts = kernels::even_segments(2, 9, 4, device());
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{segment_mean(in[0], starts, seen, divisor)}; },
                      {leaf({2, 2, 9, 3}, 1)});
    }
  const Tensor starts = kernels::even_segments_of_real(mask, 3).starts;
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{segment_mean(in[0], starts, mask)}; },
                  {leaf({2, 1, 9, 2}, 2)});
}

// Each use weighs in with a number of its own, so that none can be taken for another.
TEST_CASE("segment_means gradients of means and uses") {
  const Mask mask = Mask::from_lengths(tensor<Index>({9, 4}, {2}), 9).to(device());
  const Tensor starts = kernels::even_segments_of_real(mask, 3).starts;
  CHECK_GRADIENTS(
      [&](const auto& in) {
        const std::vector<MeanResult> r = segment_means(
            {{.x = in[0], .uses = 1}, {.x = in[1]}, {.x = in[2], .mean = false, .uses = 2}}, starts, mask);
        return std::vector{r[0].mean, mul_scalar(r[0].uses[0], 2), r[1].mean, mul_scalar(r[2].uses[0], 3),
                           square(r[2].uses[1])};
      },
      {leaf({2, 1, 9, 2}, 1), leaf({2, 1, 9, 3}, 2), leaf({2, 1, 9, 2}, 3)});
  const Variable constant(normal({2, 1, 9, 3}, kFloat64, 4));
  CHECK_GRADIENTS(  // some results are not used, some inputs have no gradient
      [&](const auto& in) {
        const std::vector<MeanResult> r =
            segment_means({{.x = in[0], .uses = 2}, {.x = constant, .uses = 1}, {.x = in[1], .uses = 1}}, starts, mask);
        return std::vector{mul_scalar(r[0].uses[1], 2), r[1].uses[0], r[2].mean};
      },
      {leaf({2, 1, 9, 2}, 1), leaf({2, 1, 9, 3}, 2)});
}

}  // namespace
}  // namespace subquad::test
