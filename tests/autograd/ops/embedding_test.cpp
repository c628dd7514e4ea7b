#include "subquad/autograd/ops/embedding.h"

#include "subquad/tests/support/compare.h"

namespace subquad {

using namespace subquad::test;

TEST_CASE("embedding passes gradcheck, repeated and unused rows included") {
  for (const Tensor& ids :
       {tensor<Index>({0, 3, 3, 1, 3, 0}, {2, 3}), tensor<Index>({2}, {}), zeros({0, 2}, kInt64, kCpu)})
    CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector<Variable>{embedding(in[0], here(ids))}; },
                    {leaf({5, 4}, 1)});
}

}  // namespace subquad
