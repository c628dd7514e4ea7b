#include "subquad/autograd/ops/hidden_cross.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("hidden_cross gradients of both outputs, together and alone") {
  for (const Shape& shape : std::vector<Shape>{{1, 1, 2}, {2, 4, 3}, {2, 7, 2}, {1, 12, 5}, {3, 0, 2}}) {
    CAPTURE(shape);
    const std::vector<Variable> inputs = {leaf(shape, 1), leaf(shape, 2)};
    const std::vector<Variable> shifted = {inputs[0], inputs[1], leaf({shape[2]}, 3)};
    std::vector<Mask> masks = {{}};
    if (shape[0] == 2) masks.push_back(Mask::from_lengths(tensor<Index>({shape[1], 3}, {2}), shape[1]).to(device()));
    for (const Mask& mask : masks) {
      CHECK_GRADIENTS(
          [&](const auto& in) {
            const HiddenCross f = hidden_cross(in[0], in[1], mask);
            return std::vector{f.lag, f.col};
          },
          inputs);
      CHECK_GRADIENTS(
          [&](const auto& in) {
            const HiddenCross f = hidden_cross(in[0], in[1], mask, in[2]);
            return std::vector{f.lag, f.col};
          },
          shifted);
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{hidden_cross(in[0], in[1], mask).lag}; }, inputs);
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{hidden_cross(in[0], in[1], mask).col}; }, inputs);
    }
  }
}

}  // namespace
}  // namespace subquad::test
