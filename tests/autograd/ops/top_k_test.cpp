#include "subquad/autograd/ops/top_k.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("top_k gradients") {
  for (const Shape& shape : std::vector<Shape>{{6}, {2, 9}, {2, 3, 20}, {2, 0}})
    for (const Index k : {0, 1, 4})
      if (k <= shape.back())
        CHECK_GRADIENTS([k = k](const auto& in) { return std::vector{top_k(in[0], k).values}; }, {leaf(shape, 3)});
}

}  // namespace
}  // namespace subquad::test
