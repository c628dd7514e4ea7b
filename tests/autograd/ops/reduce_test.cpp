#include "subquad/autograd/ops/reduce.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using namespace subquad::test;

struct ReduceCase {
  Shape shape;
  std::vector<int> axes;
};
const ReduceCase kCases[] = {{{}, {}},         {{7}, {}},           {{3, 4}, {0}},           {{3, 4}, {-1}},
                             {{2, 3, 4}, {1}}, {{2, 3, 4}, {0, 2}}, {{2, 3, 4}, {-1, 0, 1}}, {{5, 1, 20}, {1, 2}}};

}  // namespace

TEST_CASE("reductions pass gradcheck over any axes") {
  for (const ReduceCase& c : kCases)
    for (const bool keepdim : {false, true}) {
      CAPTURE(c.shape);
      CAPTURE(keepdim);
      CHECK_GRADIENTS(
          [&](const std::vector<Variable>& in) {
            return std::vector<Variable>{sum(in[0], c.axes, keepdim), mean(in[0], c.axes, keepdim),
                                         max(in[0], c.axes, keepdim).values};
          },
          {leaf(c.shape, 1)});
    }
}

TEST_CASE("reductions over nothing have zero gradients") {
  for (const Shape& shape : {Shape{3, 0}, Shape{0, 3}})
    CHECK_GRADIENTS(
        [](const std::vector<Variable>& in) {
          return std::vector<Variable>{sum(in[0], {1}), mean(in[0], {1})};
        },
        {leaf(shape, 1)});
}

TEST_CASE("max gives its gradient to the first of equals") {
  const Variable x(here(tensor({1.0, 2.0, 2.0, 0.0}, {4})), true);
  const MaxResult out = max(x);
  CHECK_EQ(out.indices.item<Index>(), 1);
  backward(out.values);
  CHECK(same_bits(x.grad(), tensor({0.0, 1.0, 0.0, 0.0}, {4})));
}

}  // namespace subquad
