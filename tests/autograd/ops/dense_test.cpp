#include "subquad/autograd/ops/dense.h"

#include <doctest/doctest.h>

#include "subquad/autograd/ops/bias_act_dropout.h"
#include "subquad/autograd/ops/linear.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("dense gradients") {
  for (const Shape& shape : {Shape{1, 1}, Shape{2, 5}, Shape{2, 3, 6}, Shape{0, 4}})
    for (const Activation activation : {Activation::none, Activation::gelu})
      for (const double p : {0.0, 0.3}) {
        CAPTURE(shape);
        CAPTURE(p);
        CAPTURE(static_cast<int>(activation));
        DenseOptions options = {.activation = activation, .p = p};
        if (p > 0)
          options.rng = {.seed = 3,
                         .stream = 4,
                         .step = here(tensor<std::int64_t>({7}, {1})),
                         .samples = arange(shape[0], kInt64, device())};
        const std::vector<Variable> inputs = {leaf(shape, 1), leaf({shape.back(), 3}, 2), leaf({3}, 3),
                                              leaf(shape.with(shape.rank() - 1, 3), 4)};
        CHECK_GRADIENTS([&](const auto& in) { return std::vector{dense(in[0], in[1], in[2], options, in[3])}; },
                        inputs);
        CHECK_GRADIENTS([&](const auto& in) { return std::vector{dense(in[0], in[1], Variable(), options)}; },
                        {inputs[0], inputs[1]});
      }
}

}  // namespace subquad::test
