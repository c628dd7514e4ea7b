#include "subquad/autograd/ops/elementwise.h"

#include <cmath>

#include "subquad/autograd/backward.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using namespace subquad::test;

// A leaf with elements in [low, high).
Variable leaf_between(const Shape& shape, double low, double high, std::uint64_t seed) {
  return Variable(uniform(shape, kFloat64, low, high, seed), true);
}

struct UnaryCase {
  const char* name;
  Variable (*op)(const Variable&);
  double low, high;  // away from kinks and poles
};
const UnaryCase kUnaryCases[] = {
    {"neg", neg, -2, 2},
    {"exp", exp, -2, 2},
    {"log", log, 0.5, 3},
    {"sqrt", sqrt, 0.5, 3},
    {"rsqrt", rsqrt, 0.5, 3},
    {"tanh", tanh, -2, 2},
    {"sigmoid", sigmoid, -3, 3},
    {"relu", relu, 0.1, 2},
    {"relu", relu, -2, -0.1},
    {"gelu", gelu, -3, 3},
    {"abs", abs, 0.1, 2},
    {"abs", abs, -2, -0.1},
    {"square", square, -2, 2},
    {"reciprocal", reciprocal, 0.5, 2},
    {"reciprocal", reciprocal, -2, -0.5},
    {"add_scalar", [](const Variable& x) { return add_scalar(x, 1.5); }, -2, 2},
    {"mul_scalar", [](const Variable& x) { return mul_scalar(x, -0.7); }, -2, 2},
    {"pow_scalar", [](const Variable& x) { return pow_scalar(x, 2.5); }, 0.5, 2},
    {"pow_scalar", [](const Variable& x) { return pow_scalar(x, 3); }, -2, -0.5},
    {"pow_scalar", [](const Variable& x) { return pow_scalar(x, 0); }, -2, 2},
};

struct BinaryCase {
  const char* name;
  Variable (*op)(const Variable&, const Variable&);
};
const BinaryCase kBinaryCases[] = {{"add", add}, {"sub", sub},         {"mul", mul},
                                   {"div", div}, {"maximum", maximum}, {"minimum", minimum}};

}  // namespace

TEST_CASE("elementwise ops of one operand pass gradcheck") {
  for (const UnaryCase& c : kUnaryCases)
    for (const Shape& shape : {Shape{}, Shape{3, 5}, Shape{0, 2}, Shape{10, 11}}) {
      CAPTURE(c.name);
      CAPTURE(shape);
      CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector<Variable>{c.op(in[0])}; },
                      {leaf_between(shape, c.low, c.high, 1)});
    }
}

TEST_CASE("elementwise ops of two operands pass gradcheck with every kind of broadcasting") {
  for (const BinaryCase& c : kBinaryCases)
    for (const auto& [a, b] : {std::pair<Shape, Shape>{{4, 3}, {4, 3}},
                               {{4, 3}, {3}},
                               {{4, 3}, {}},
                               {{3}, {4, 3}},
                               {{2, 1, 3}, {4, 1}},
                               {{1, 3}, {1}},
                               {{0, 3}, {3}}}) {
      CAPTURE(c.name);
      CAPTURE(a);
      CAPTURE(b);
      // Apart from each other, either way round, so that maximum and minimum are away from their kink.
      for (const double high : {1.0, 3.0})
        CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector<Variable>{c.op(in[0], in[1])}; },
                        {leaf_between(a, high, high + 0.9, 1), leaf_between(b, 2, 2.9, 2)});
    }
}

TEST_CASE("where passes gradcheck and blocks the gradient of what was not chosen") {
  const Tensor cond = kernels::less(normal({4, 1}, kFloat64, 3), zeros({}, kFloat64, device()));
  CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector<Variable>{where(cond, in[0], in[1])}; },
                  {leaf({4, 3}, 1), leaf({3}, 2)});
  const Variable a = leaf({2}, 1), b = leaf({2}, 2);
  backward(where(here(tensor<bool>({true, false}, {2})), a, b), here(tensor({5.0, 7.0}, {2})));
  CHECK(same_bits(a.grad(), tensor({5.0, 0.0}, {2})));
  CHECK(same_bits(b.grad(), tensor({0.0, 7.0}, {2})));
}

TEST_CASE("elementwise ops choose one side at a kink") {
  const Tensor ones = full({2}, 1, kFloat64, device());
  const auto gradient_at_zero = [&](Variable (*op)(const Variable&)) {
    const Variable x(zeros({2}, kFloat64, device()), true);
    backward(op(x), ones);
    return x.grad();
  };
  CHECK(same_bits(gradient_at_zero(relu), zeros({2}, kFloat64, kCpu)));
  CHECK(same_bits(gradient_at_zero(abs), zeros({2}, kFloat64, kCpu)));
  for (const auto op : {maximum, minimum}) {
    const Variable a(ones.clone(), true), b(ones.clone(), true);
    backward(op(a, b), ones);
    CHECK(same_bits(a.grad(), ones));
    CHECK(same_bits(b.grad(), zeros({2}, kFloat64, kCpu)));
  }
}

TEST_CASE("elementwise ops: the gradient of maximum and minimum goes to a NaN") {
  const double nan = std::nan(""), inf = HUGE_VAL;
  for (const auto op : {maximum, minimum}) {
    const Variable a(here(tensor<double>({nan, nan, nan, 1, inf}, {5})), true);
    const Variable b(here(tensor<double>({1, inf, -inf, nan, nan}, {5})), true);
    backward(op(a, b), full({5}, 1, kFloat64, device()));
    CHECK(same_bits(a.grad(), tensor<double>({1, 1, 1, 0, 0}, {5})));
    CHECK(same_bits(b.grad(), tensor<double>({0, 0, 0, 1, 1}, {5})));
  }
}

TEST_CASE("elementwise ops: one value used twice gets both gradients") {
  CHECK_GRADIENTS([](const std::vector<Variable>& in) { return std::vector<Variable>{mul(add(in[0], in[0]), in[0])}; },
                  {leaf({3, 2}, 1)});
}

TEST_CASE("elementwise ops: an operand changed in place is noticed in backward") {
  const Variable a = leaf({3}, 1);
  Variable b = leaf({3}, 2);
  const Variable out = mul(a, b);
  kernels::scale_into(b.mutable_value(), 2);
  CHECK_THROWS_AS(backward(out, zeros({3}, kFloat64, device())), Error);
}

}  // namespace subquad
