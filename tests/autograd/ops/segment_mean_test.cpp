#include "subquad/autograd/ops/segment_mean.h"

#include <doctest/doctest.h>

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

}  // namespace
}  // namespace subquad::test
