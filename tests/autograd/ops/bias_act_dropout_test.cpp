#include "subquad/autograd/ops/bias_act_dropout.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

RandomState random_state(Index batch) {
  return {
      .seed = 3, .stream = 4, .step = here(tensor<std::int64_t>({7}, {1})), .samples = arange(batch, kInt64, device())};
}

TEST_CASE("bias_act_dropout gradients") {
  for (const Shape& shape : {Shape{1, 1}, Shape{2, 5}, Shape{2, 3, 6}, Shape{3, 41}, Shape{0, 4}})
    for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu})
      for (const double p : {0.0, 0.3}) {
        CAPTURE(shape);
        CAPTURE(p);
        CAPTURE(static_cast<int>(activation));
        const RandomState rng = p > 0 ? random_state(shape[0]) : RandomState();
        CHECK_GRADIENTS([&](const auto& in) { return std::vector{bias_act_dropout(in[0], in[1], activation, p, rng)}; },
                        {leaf(shape, 1), leaf({shape.back()}, 2)});
        CHECK_GRADIENTS(
            [&](const auto& in) { return std::vector{bias_act_dropout(in[0], Variable(), activation, p, rng)}; },
            {leaf(shape, 3)});
        CHECK_GRADIENTS(
            [&](const auto& in) { return std::vector{bias_act_dropout(in[0], in[1], activation, p, rng, in[2])}; },
            {leaf(shape, 1), leaf({shape.back()}, 2), leaf(shape, 4)});
      }
}

TEST_CASE("bias_act_dropout refuses a step that has moved on before backward") {
  const Variable x = leaf({2, 8}, 1);
  RandomState rng = random_state(2);
  const Variable y = bias_act_dropout(x, Variable(), Activation::relu, 0.5, rng);
  fill(rng.step, 8);  // would draw another mask than the forward did
  CHECK_THROWS_WITH_AS(backward(y, full({2, 8}, 1, kFloat64, device())),
                       doctest::Contains("a tensor saved for backward was changed in place"), Error);
}

}  // namespace
}  // namespace subquad::test
