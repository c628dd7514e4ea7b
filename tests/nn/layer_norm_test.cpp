#include "subquad/nn/layer_norm.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

TEST_CASE("LayerNorm equals the double loop, also with the residual added") {
  test::for_each_float([](DType dtype) {
    const LayerNorm layer(test::place(dtype, 4), 9, 1e-3);
    test::randomise(layer);
    const Tensor x = test::normal({2, 5, 9}, dtype, 1), residual = test::normal({2, 5, 9}, dtype, 2);
    const double tolerance = test::dot_tolerance(dtype, 9);
    CHECK_CLOSE(layer(Variable(x)).value(), test::slow::layer_norm(x, layer.state_dict(), 1e-3), tolerance);

    const Tensor sum = test::slow::add(x, residual);
    const auto joined = layer.add(Variable(x), Variable(residual));
    CHECK_CLOSE(joined.sum.value(), sum, tolerance);
    CHECK_CLOSE(joined.out.value(), test::slow::layer_norm(sum, layer.state_dict(), 1e-3), 2 * tolerance);
  });
}

TEST_CASE("LayerNorm gradients") {
  const LayerNorm layer(test::place(kFloat64), 5);
  test::randomise(layer);
  CHECK_MODULE_GRADIENTS(layer, [&](const auto& in) { return layer(in[0]); }, {test::leaf({2, 2, 5}, 1)});
  const auto both = [&](const auto& in) {
    const auto joined = layer.add(in[0], in[1]);
    return mul(joined.sum, joined.out);
  };
  CHECK_MODULE_GRADIENTS(layer, both, {test::leaf({2, 2, 5}, 1), test::leaf({2, 2, 5}, 2)});
}

}  // namespace
}  // namespace subquad::nn
