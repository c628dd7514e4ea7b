#include "subquad/autograd/ops/running_max.h"

#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("running_max gradients") {
  for (const Mask& mask : {Mask(), Mask::from_lengths(here(tensor<Index>({11, 6}, {2})), 11)})
    for (const GridAxis along : {GridAxis::row, GridAxis::column})
      for (const bool after : {false, true})
        CHECK_GRADIENTS(
            [&](const std::vector<Variable>& in) -> std::vector<Variable> {
              return {running_max(in[0], {.columns = 4, .along = along, .after = after}, mask)};
            },
            {leaf({2, 11, 3}, 1)});
}

}  // namespace subquad::test
