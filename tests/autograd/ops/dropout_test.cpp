#include "subquad/autograd/ops/dropout.h"

#include "subquad/autograd/backward.h"
#include "subquad/kernels/dropout/dropout.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using namespace subquad::test;

RandomState state() {
  return {.seed = 3, .stream = 5, .step = here(tensor<Index>({9}, {1})), .samples = here(tensor<Index>({4, 1}, {2}))};
}

}  // namespace

TEST_CASE("dropout passes gradcheck: backward draws the same mask") {
  for (const Shape& shape : {Shape{2, 5}, Shape{2, 3, 6}, Shape{2, 7, 11}})
    CHECK_GRADIENTS([](const std::vector<Variable>& in) { return std::vector<Variable>{dropout(in[0], 0.4, state())}; },
                    {leaf(shape, 1)});
}

TEST_CASE("dropout with probability 0 is the value itself") {
  const Variable x = leaf({2, 3}, 1);
  CHECK_EQ(dropout(x, 0, {}).impl(), x.impl());
}

TEST_CASE("dropout: a step counted on before backward is noticed") {
  const Variable x = leaf({2, 3}, 1);
  RandomState random = state();
  const Variable out = dropout(x, 0.5, random);
  fill(random.step, 10);
  CHECK_THROWS_AS(backward(out, zeros({2, 3}, kFloat64, device())), Error);
}

}  // namespace subquad
