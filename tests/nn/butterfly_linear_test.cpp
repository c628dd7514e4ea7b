#include "subquad/nn/butterfly_linear.h"

#include <bit>

#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

// y = W_M ... W_1 x of one row of n features, in double.
std::vector<double> transform(std::vector<double> x, const Tensor& weight) {
  for (Index m = 0; m < weight.dim(0); ++m) {
    std::vector<double> y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t partner = i ^ (std::size_t{1} << m);
      y[i] = test::at(weight, {m, static_cast<Index>(i), 0}) * x[i];
      if (partner < x.size()) y[i] += test::at(weight, {m, static_cast<Index>(i), 1}) * x[partner];
    }
    x = y;
  }
  return x;
}

struct Sizes {
  Index inputs, outputs;
};
const std::vector<Sizes> kSizes = {{1, 1}, {2, 2}, {8, 8}, {7, 7}, {5, 8}, {8, 3}, {20, 33}};

}  // namespace

TEST_CASE("ButterflyLinear equals its factors one by one") {
  for (const auto& [inputs, outputs] : kSizes) {
    CAPTURE(inputs);
    CAPTURE(outputs);
    ButterflyLinear layer(test::place(kFloat64), inputs, outputs);
    test::randomise(layer);
    const Tensor x = test::normal({2, 3, inputs}, kFloat64, 1);
    const Tensor weight = layer.state_dict().at("weight"), bias = layer.state_dict().at("bias");
    Tensor want = zeros({2, 3, outputs}, kFloat64, kCpu);
    for (Index row = 0; row < 6; ++row) {
      std::vector<double> features(static_cast<std::size_t>(weight.dim(1)));
      for (Index i = 0; i < inputs; ++i) features[static_cast<std::size_t>(i)] = test::at(x, row * inputs + i);
      const std::vector<double> y = transform(features, weight);
      for (Index o = 0; o < outputs; ++o)
        want.data<double>()[row * outputs + o] = y[static_cast<std::size_t>(o)] + test::at(bias, o);
    }
    CHECK_CLOSE(layer(Variable(x)).value(), want, test::dot_tolerance(kFloat64, 16));
  }
}

TEST_CASE("ButterflyLinear holds the Walsh-Hadamard transform") {
  const Index n = 16;
  ButterflyLinear layer(test::place(kFloat64), n, n, false);
  Tensor weight = zeros({4, n, 2}, kFloat64, kCpu);
  for (Index m = 0; m < 4; ++m)
    for (Index i = 0; i < n; ++i) {
      weight.data<double>()[(m * n + i) * 2] = (i >> m) % 2 == 0 ? 1 : -1;
      weight.data<double>()[(m * n + i) * 2 + 1] = 1;
    }
  layer.load_state_dict({{"weight", weight}});
  Tensor identity = zeros({n, n}, kFloat64, kCpu), hadamard = zeros({n, n}, kFloat64, kCpu);
  for (Index i = 0; i < n; ++i) {
    identity.data<double>()[i * n + i] = 1;
    for (Index j = 0; j < n; ++j)
      hadamard.data<double>()[i * n + j] = std::popcount(static_cast<unsigned>(i & j)) % 2 == 0 ? 1 : -1;
  }
  CHECK_CLOSE(layer(Variable(test::here(identity))).value(), hadamard, 0);
}

TEST_CASE("ButterflyLinear gradients, and its errors") {
  for (const auto& [inputs, outputs] : kSizes) {
    const ButterflyLinear layer(test::place(kFloat64), inputs, outputs);
    CHECK_MODULE_GRADIENTS(layer, [&](const auto& in) { return layer(in[0]); }, {test::leaf({2, 3, inputs}, 1)});
  }
  CHECK(ButterflyLinear(test::place(kFloat32), 1000, 1024).parameter_count() == 10 * 1024 * 2 + 1024);
  CHECK_THROWS_WITH_AS(ButterflyLinear(test::place(kFloat32), 0, 3),
                       "butterfly_linear: 0 inputs and 3 outputs, expected at least 1 of each", Error);
  CHECK_THROWS_WITH_AS(ButterflyLinear(test::place(kFloat32), 4, 4)(Variable(zeros({2, 5}, kFloat32, kCpu))),
                       "butterfly_linear: x is [2, 5] float32 cpu, expected [..., 4]", ShapeError);
}

}  // namespace subquad::nn
