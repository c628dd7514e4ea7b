#include "subquad/nn/losses.h"

#include <cmath>

#include "subquad/tests/support/compare.h"

namespace subquad::nn {
namespace {

using test::device;
using test::here;

TEST_CASE("cross_entropy of nn is the mean over the batch") {
  const Tensor logits = test::normal({4, 3}, kFloat64, 1), labels = here(tensor<std::int64_t>({2, 0, 1, 1}, {4}));
  double want = 0;
  for (Index b = 0; b < 4; ++b) {
    double total = 0;
    for (Index c = 0; c < 3; ++c) total += std::exp(test::at(logits, {b, c}));
    want += (std::log(total) - test::at(logits, {b, static_cast<Index>(test::at(labels, b))})) / 4;
  }
  CHECK(std::fabs(nn::cross_entropy(Variable(logits), labels).value().item<double>() - want) < 1e-14);
}

TEST_CASE("mean_squared_error equals the slow loop, has the right gradients and broadcasts nothing") {
  const Variable prediction = test::leaf({3, 5}, 1), target = test::leaf({3, 5}, 2);
  double want = 0;
  for (Index i = 0; i < 15; ++i)
    want += std::pow(test::at(prediction.value(), i) - test::at(target.value(), i), 2) / 15;
  CHECK(std::fabs(mean_squared_error(prediction, target).value().item<double>() - want) < 1e-14);
  CHECK_GRADIENTS([](const std::vector<Variable>& in) { return std::vector{mean_squared_error(in[0], in[1])}; },
                  {prediction, target});
  const Variable nothing(zeros({0, 2}, kFloat32, device()));
  CHECK(mean_squared_error(nothing, nothing).value().item<float>() == 0);
  CHECK_THROWS_WITH_AS(mean_squared_error(prediction, test::leaf({5}, 2)),
                       cat("mean_squared_error: target is [5] float64 ", device(), ", expected shape [3, 5]").c_str(),
                       ShapeError);
}

}  // namespace
}  // namespace subquad::nn
