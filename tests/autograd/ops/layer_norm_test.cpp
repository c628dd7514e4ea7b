#include "subquad/autograd/ops/layer_norm.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

constexpr double kEps = 1e-5;
const std::vector<Shape> kShapes = {{5}, {1, 3}, {4, 7}, {2, 3, 6}, {3, 33}, {0, 4}};

TEST_CASE("layer_norm gradients") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape);
    const Shape width = {shape.back()};
    CHECK_GRADIENTS([](const auto& in) { return std::vector{layer_norm(in[0], in[1], in[2], kEps)}; },
                    {leaf(shape, 1), leaf(width, 2), leaf(width, 3)});
  }
}

TEST_CASE("layer_norm_branch is x and its norm, with the gradients of both, together and alone") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape);
    const Shape width = {shape.back()};
    const std::vector<Variable> inputs = {leaf(shape, 1), leaf(width, 2), leaf(width, 3)};
    auto run = [](const std::vector<Variable>& in) { return layer_norm_branch(in[0], in[1], in[2], kEps); };
    CHECK(same_bits(run(inputs).x.value(), inputs[0].value()));
    CHECK(same_bits(run(inputs).out.value(), layer_norm(inputs[0], inputs[1], inputs[2], kEps).value()));
    CHECK_GRADIENTS(
        [&](const auto& in) {
          const LayerNormBranch y = run(in);
          return std::vector{y.x, y.out};
        },
        inputs);
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{run(in).x}; }, inputs);
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{run(in).out}; }, inputs);
  }
}

TEST_CASE("add_layer_norm gradients of both outputs, together and alone") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape);
    const Shape width = {shape.back()};
    const std::vector<Variable> inputs = {leaf(shape, 1), leaf(shape, 2), leaf(width, 3), leaf(width, 4)};
    auto run = [](const std::vector<Variable>& in) { return add_layer_norm(in[0], in[1], in[2], in[3], kEps); };
    CHECK_GRADIENTS(
        [&](const auto& in) {
          const AddLayerNorm y = run(in);
          return std::vector{y.sum, y.out};
        },
        inputs);
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{run(in).sum}; }, inputs);
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{run(in).out}; }, inputs);
  }
}

TEST_CASE("layer_norm of a frozen scale and shift gives them no gradient") {
  const Variable x = leaf({2, 3}, 1), gamma(normal({3}, kFloat64, 2)), beta(normal({3}, kFloat64, 3));
  backward(layer_norm(x, gamma, beta, kEps), full({2, 3}, 1, kFloat64, device()));
  CHECK(x.grad().defined());
  CHECK_FALSE(gamma.grad().defined());
  CHECK_FALSE(beta.grad().defined());
}

}  // namespace
}  // namespace subquad::test
