#include "subquad/nn/feed_forward.h"

#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::random_state;

TEST_CASE("FeedForward equals the double loop") {
  test::for_each_float([](DType dtype) {
    const FeedForward layer(test::place(dtype, 4), {.width = 6, .hidden = 10});
    test::randomise(layer);
    for (const Index batch : {0, 3}) {
      const Tensor x = test::normal({batch, 4, 6}, dtype, 1);
      const Tensor want = test::slow::feed_forward(x, layer.state_dict());
      CHECK_CLOSE(layer(Variable(x), {}).value(), want, test::dot_tolerance(dtype, 60));
    }
  });
}

TEST_CASE("FeedForward drops hidden features and results, by different masks") {
  FeedForward layer(test::place(kFloat32), {.width = 16, .hidden = 16, .dropout = 0.5});
  const Variable x(test::normal({2, 8, 16}, kFloat32, 1));
  const Tensor dropped = layer(x, random_state(2)).value(), values = test::doubles(dropped);
  Index zeros_seen = 0;
  for (const double value : values.span<double>()) zeros_seen += value == 0;
  CHECK(zeros_seen > 64);
  CHECK(zeros_seen < 192);
  layer.eval();
  const Tensor whole = layer(x, {}).value();
  Index doubled = 0;  // with hidden features dropped, too, a kept result is not just twice the whole one
  for (Index i = 0; i < whole.size(); ++i) doubled += test::at(dropped, i) == 2 * test::at(whole, i);
  CHECK(doubled < 8);
}

TEST_CASE("FeedForward gradients") {
  const FeedForward layer(test::place(kFloat64), {.width = 3, .hidden = 5, .dropout = 0.25});
  test::randomise(layer);
  CHECK_MODULE_GRADIENTS(layer, [&](const auto& in) { return layer(in[0], random_state(2)); },
                         {test::leaf({2, 3, 3}, 1)});
}

TEST_CASE("parse_activation lists what there is") {
  CHECK(parse_activation("relu") == kernels::Activation::relu);
  CHECK(activation_name(kernels::Activation::gelu) == "gelu");
  CHECK_THROWS_WITH_AS(parse_activation("swish"), "activation: 'swish', expected one of none, relu, gelu", Error);
}

}  // namespace
}  // namespace subquad::nn
