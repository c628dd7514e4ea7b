#include "subquad/nn/linear.h"

#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::place;

TEST_CASE("Linear equals the double loop") {
  test::for_each_float([](DType dtype) {
    for (const bool bias : {true, false}) {
      const Linear layer(test::place(dtype, 4), 7, 5, {.bias = bias});
      test::randomise(layer);
      for (const Shape& shape : {Shape{3, 7}, Shape{2, 3, 7}, Shape{0, 7}, Shape{7}}) {
        const Tensor x = test::normal(shape, dtype, 1);
        const Tensor want = test::slow::linear(x, layer.state_dict());
        CHECK_CLOSE(layer(Variable(x)).value(), want, test::dot_tolerance(dtype, 7));
      }
    }
  });
}

TEST_CASE("Linear without bias has one parameter") {
  const Linear plain(place(kFloat64), 3, 4, {.bias = false});
  CHECK(plain.parameters().size() == 1);
  CHECK_FALSE(plain.bias().defined());
}

TEST_CASE("Linear gradients") {
  const Linear layer(place(kFloat64), 3, 4);
  test::randomise(layer);
  CHECK_MODULE_GRADIENTS(layer, [&](const auto& in) { return layer(in[0]); }, {test::leaf({2, 5, 3}, 1)});
}

}  // namespace
}  // namespace subquad::nn
