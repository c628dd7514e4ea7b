#include "subquad/autograd/ops/fft.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("fft, ifft, rfft and irfft gradients") {
  for (const Index n : {1, 2, 3, 4, 7, 8, 12, 15})
    for (const int axis : {0, 1}) {
      CAPTURE(n);
      CAPTURE(axis);
      const Shape real = axis == 0 ? Shape{n, 2} : Shape{2, n}, pairs = real.inserted(2, 2);
      const Shape bins = real.with(axis, n / 2 + 1).inserted(2, 2);
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{complex_to_pairs(fft(pairs_to_complex(in[0]), axis))}; },
                      {leaf(pairs, 1)});
      CHECK_GRADIENTS(
          [&](const auto& in) { return std::vector{complex_to_pairs(ifft(pairs_to_complex(in[0]), axis))}; },
          {leaf(pairs, 2)});
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{complex_to_pairs(rfft(in[0], axis))}; },
                      {leaf(real, 3)});
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{irfft(pairs_to_complex(in[0]), n, axis)}; },
                      {leaf(bins, 4)});
    }
}

TEST_CASE("a spectrum that is used several times gets the sum of its gradients") {
  const Index n = 10;
  CHECK_GRADIENTS(
      [&](const auto& in) {
        const Variable spectrum = rfft(in[0], 0);
        return std::vector{irfft(spectrum, n, 0), complex_to_pairs(spectrum), irfft(spectrum, n + 1, 0)};
      },
      {leaf({n, 3}, 1)});
}

}  // namespace
}  // namespace subquad::test
