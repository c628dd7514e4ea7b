#include "subquad/autograd/ops/matmul.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

namespace {

std::vector<Variable> product(const std::vector<Variable>& in) {
  return {matmul(in[0], in[1])};
}

}  // namespace

TEST_CASE("matmul gradients") {
  CHECK_GRADIENTS(product, {leaf({3, 4}, 1), leaf({4, 5}, 2)});
  CHECK_GRADIENTS(product, {leaf({1, 1}, 1), leaf({1, 1}, 2)});
  CHECK_GRADIENTS(product, {leaf({2, 3, 4}, 1), leaf({2, 4, 5}, 2)});
  CHECK_GRADIENTS(product, {leaf({17, 31}, 1), leaf({31, 13}, 2)});
}

TEST_CASE("matmul gradients of operands that were broadcast") {
  CHECK_GRADIENTS(product, {leaf({2, 3, 4}, 1), leaf({4, 5}, 2)});           // a shared right operand
  CHECK_GRADIENTS(product, {leaf({3, 4}, 1), leaf({2, 4, 5}, 2)});           // a shared left operand
  CHECK_GRADIENTS(product, {leaf({2, 1, 3, 4}, 1), leaf({3, 4, 2}, 2)});     // both
  CHECK_GRADIENTS(product, {leaf({2, 2, 3, 4}, 1), leaf({1, 1, 4, 2}, 2)});  // extents of one
}

TEST_CASE("matmul gradients of one operand alone") {
  const Variable constant(normal({4, 5}, kFloat64, 3));
  CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector{matmul(in[0], constant)}; },
                  {leaf({3, 4}, 1)});
  const Variable left(normal({3, 4}, kFloat64, 3));
  CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector{matmul(left, in[0])}; }, {leaf({4, 2}, 1)});
}

TEST_CASE("matmul gradients of an empty product are zeros") {
  const Variable a = leaf({3, 0}, 1), b = leaf({0, 2}, 2);
  const Variable out = matmul(a, b);
  CHECK_CLOSE(out.value(), zeros({3, 2}, kFloat64, kCpu), 0);
  backward(out, full({3, 2}, 1, kFloat64, device()));
  CHECK_EQ(a.grad().shape(), Shape{3, 0});
  CHECK_EQ(b.grad().shape(), Shape{0, 2});
  const Variable x = leaf({0, 4}, 1), w = leaf({4, 2}, 2);
  backward(matmul(x, w), zeros({0, 2}, kFloat64, device()));
  CHECK_CLOSE(w.grad(), zeros({4, 2}, kFloat64, kCpu), 0);
}

TEST_CASE("matmul refuses backward when an operand was written to") {
  Variable a = leaf({2, 2}, 1), b = leaf({2, 2}, 2);
  const Variable out = matmul(a, b);
  fill(b.mutable_value(), 0);
  CHECK_THROWS_AS(backward(out, full({2, 2}, 1, kFloat64, device())), Error);
}

TEST_CASE("matmul_or gradients") {
  Tensor none = zeros({2}, kBool, kCpu);
  none.data<bool>()[1] = true;
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{matmul_or(in[0], in[1], in[2], here(none))}; },
                  {leaf({2, 2, 3, 3}, 1), leaf({2, 2, 3, 4}, 2), leaf({2, 2, 3, 4}, 3)});
}

}  // namespace subquad::test
