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

TEST_CASE("linear_group gives the results and gradients of its linears") {
  const auto check_group = [](DType dtype, bool in_arena, bool biased, bool side_by_side, const Shape& input) {
    CAPTURE(in_arena);
    CAPTURE(side_by_side);
    CAPTURE(biased);
    const Index i = input.back(), o = 5, count = 3;
    const Tensor arena = normal({count, i * o + 3 + o}, dtype, 1);  // each map's weight, a gap, its bias
    const auto part = [&](Index s, Index first, Index size) {
      const Tensor view = arena.select(0, s).slice(0, first, first + size);
      return in_arena ? view : view.clone();
    };
    const Variable x(normal(input, dtype, 2), true);
    std::vector<Variable> weights, biases;
    for (Index s = 0; s < count; ++s) {
      weights.emplace_back(part(s, 0, i * o).reshape({i, o}), true);
      biases.push_back(biased ? Variable(part(s, i * o + 3, o), true) : Variable());
    }
    std::vector<Variable> leaves = {x};
    leaves.insert(leaves.end(), weights.begin(), weights.end());
    if (biased) leaves.insert(leaves.end(), biases.begin(), biases.end());
    const std::vector<Variable> got = linear_group(x, weights, biases);
    std::vector<Variable> want;
    std::vector<Tensor> upstream;
    for (std::size_t s = 0; s < 3; ++s) {
      want.push_back(linear(x, weights[s], biases[s]));
      const Shape shape = want[s].shape();  // alone, or [..., S, O] with those of the other maps
      const Tensor all = normal(shape.inserted(shape.rank() - 1, count), dtype, side_by_side ? 3 : 3 + s);
      const Tensor mine = all.select(shape.rank() - 1, static_cast<Index>(s));
      upstream.push_back(side_by_side ? mine : mine.clone());
      CHECK_CLOSE(got[s].value(), want[s].value(), dot_tolerance(dtype, i));
    }
    const std::vector<Tensor> a = grad(got, leaves, upstream), b = grad(want, leaves, upstream);
    for (std::size_t l = 0; l < a.size(); ++l) CHECK_CLOSE(a[l], b[l], dot_tolerance(dtype, x.value().size() + 15));
  };
  for_each_float([&](DType dtype) {
    for (const bool in_arena : {false, true})
      for (const bool biased : {false, true})
        for (const Shape& input : {Shape{2, 7, 4}, Shape{3, 3}, Shape{0, 4}, Shape{5}, Shape{600, 4}})
          for (const bool side_by_side : {false, true}) check_group(dtype, in_arena, biased, side_by_side, input);
  });
}

TEST_CASE("linear_group: a result that nobody used gives no gradient") {
  const Variable x = leaf({3, 4}, 1), w0 = leaf({4, 2}, 2), w1 = leaf({4, 2}, 3), b0 = leaf({2}, 4), b1 = leaf({2}, 5);
  const std::vector<Variable> outs = linear_group(x, {w0, w1}, {b0, b1});
  backward(outs[1], full({3, 2}, 1, kFloat64, device()));
  CHECK_FALSE(w0.grad().defined());
  CHECK_FALSE(b0.grad().defined());
  CHECK_CLOSE(b1.grad(), full({2}, 3, kFloat64, kCpu), 0);
  const Variable alone = linear(x, w1, b1);
  CHECK_CLOSE(x.grad(), grad({alone}, {x}, {full({3, 2}, 1, kFloat64, device())})[0], dot_tolerance(kFloat64, 2));
}

TEST_CASE("linear_group complains about maps that are not alike") {
  const Variable x = leaf({3, 4}, 1), w = leaf({4, 2}, 2), wide = leaf({4, 3}, 3), b = leaf({2}, 4);
  CHECK_THROWS_AS(linear_group(x, {w, wide}, {b, b}), ShapeError);
  CHECK_THROWS_WITH_AS(linear_group(x, {w, w}, {b}), "linear_group: 1 biases, expected 2", ShapeError);
  CHECK_THROWS_WITH_AS(linear_group(x, {w, w}, {b, Variable()}),
                       "linear_group: some biases are undefined, expected all or none", Error);
  CHECK_THROWS_WITH_AS(linear_group(x, {}, {}), "linear_group: 0 weights, expected 1", ShapeError);
}

}  // namespace subquad::test
