#include "subquad/autograd/ops/compact.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("compact and spread gradients") {
  const Mask mask = Mask::from_bool(here(tensor<bool>({false, true, true, false, true, true, false, false}, {2, 4})));
  for (const int dim : {1, 2}) {
    const Shape shape = dim == 1 ? Shape{2, 4, 3} : Shape{2, 3, 4, 2};
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          return {compact(in[0], mask, dim), spread(in[0], mask, dim)};
        },
        {leaf(shape, 1)});
  }
}

TEST_CASE("compact of a prefix mask is its argument itself") {
  const Variable x = leaf({2, 4, 3}, 1);
  const Mask mask = Mask::from_lengths(here(tensor<Index>({4, 1}, {2})), 4);
  CHECK(spread(compact(x, mask), mask).is_leaf());
  CHECK(compact(x, {}).is_leaf());
}
}  // namespace subquad::test
