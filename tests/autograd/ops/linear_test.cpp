#include "subquad/autograd/ops/linear.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

namespace {

std::vector<Variable> with_bias(const std::vector<Variable>& in) {
  return {linear(in[0], in[1], in[2])};
}

std::vector<Variable> without_bias(const std::vector<Variable>& in) {
  return {linear(in[0], in[1])};
}

}  // namespace

TEST_CASE("linear gradients") {
  CHECK_GRADIENTS(with_bias, {leaf({3, 4}, 1), leaf({4, 5}, 2), leaf({5}, 3)});
  CHECK_GRADIENTS(with_bias, {leaf({4}, 1), leaf({4, 5}, 2), leaf({5}, 3)});
  CHECK_GRADIENTS(with_bias, {leaf({2, 3, 4}, 1), leaf({4, 1}, 2), leaf({1}, 3)});
  CHECK_GRADIENTS(with_bias, {leaf({2, 53, 7}, 1), leaf({7, 11}, 2), leaf({11}, 3)});
  CHECK_GRADIENTS(without_bias, {leaf({2, 3, 4}, 1), leaf({4, 5}, 2)});
}

TEST_CASE("linear asks for no gradient of an input that needs none") {
  const Variable x(normal({3, 4}, kFloat64, 1));
  const Variable weight = leaf({4, 5}, 2), bias = leaf({5}, 3);
  backward(linear(x, weight, bias), full({3, 5}, 1, kFloat64, device()));
  CHECK_FALSE(x.grad().defined());
  CHECK_CLOSE(bias.grad(), full({5}, 3, kFloat64, kCpu), 0);
  CHECK(weight.grad().defined());
}

TEST_CASE("linear of an empty batch has zero parameter gradients") {
  const Variable x = leaf({0, 4}, 1), weight = leaf({4, 5}, 2), bias = leaf({5}, 3);
  const Variable out = linear(x, weight, bias);
  CHECK_EQ(out.shape(), Shape{0, 5});
  backward(out, zeros({0, 5}, kFloat64, device()));
  CHECK_EQ(x.grad().shape(), Shape{0, 4});
  CHECK_CLOSE(weight.grad(), zeros({4, 5}, kFloat64, kCpu), 0);
  CHECK_CLOSE(bias.grad(), zeros({5}, kFloat64, kCpu), 0);
}

}  // namespace subquad::test
