#include "subquad/nn/attention/softmax.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::real_part;

struct Case {
  std::vector<std::int64_t> lengths;
  Index positions = 1, width = 4, heads = 1, head_width = 0;
  bool causal = false, bias = true, masked = true;

  Index batch() const { return static_cast<Index>(lengths.size()); }
  Mask mask() const { return masked ? prefix_mask(lengths, positions) : Mask(); }
  std::unique_ptr<Attention> attention(const Place& place) const {
    auto made = make_attention(
        place, {.width = width, .heads = heads, .head_width = head_width, .bias = bias, .causal = causal});
    test::randomise(*made);
    return made;
  }
};

std::vector<Case> cases() {
  return {
      {.lengths = {9, 4, 1}, .positions = 9, .width = 8, .heads = 2},
      {.lengths = {31, 0, 17}, .positions = 31, .width = 6, .heads = 3, .causal = true},
      {.lengths = {7, 7}, .positions = 7, .width = 8, .heads = 2, .head_width = 2, .bias = false, .masked = false},
      {.lengths = {1}, .positions = 1, .width = 4, .heads = 4, .masked = false},
      {.lengths = {}, .positions = 5, .width = 4},
      {.lengths = {0, 0}, .positions = 0, .width = 4},
  };
}

TEST_CASE("SoftmaxAttention equals the double loop") {
  test::for_each_float([](DType dtype) {
    for (const Case& c : cases()) {
      CAPTURE(c.positions);
      const auto module = c.attention(test::place(dtype, 4));
      const Tensor x = test::normal({c.batch(), c.positions, c.width}, dtype, 1);
      const Variable in(x);
      const Tensor got = module->forward({in, in, c.mask(), {}}).value();
      const Tensor want = test::slow::attention(x, module->state_dict(), c.heads, c.mask(), c.causal);
      CHECK_CLOSE(real_part(got, c.mask()), real_part(want, c.mask()), test::dot_tolerance(dtype, 4 * c.positions));
    }
  });
}

TEST_CASE("mixing_matrix equals the double loop, and mixes values as forward does") {
  for (const Case& c : cases()) {
    CAPTURE(c.positions);
    const auto module = c.attention(test::place(kFloat64));
    const Tensor x = test::normal({c.batch(), c.positions, c.width}, kFloat64, 1);
    const Variable in(x);
    const Tensor matrix = module->mixing_matrix({in, in, c.mask(), {}});
    CHECK_CLOSE(matrix, test::slow::attention_matrix(x, module->state_dict(), c.heads, c.mask(), c.causal),
                test::dot_tolerance(kFloat64, 4 * c.positions));
    CHECK(matrix.shape() == Shape{c.batch(), c.heads, c.positions, c.positions});
  }
}

TEST_CASE("SoftmaxAttention mixes values by what data decide") {
  const Case c{.lengths = {6, 3}, .positions = 6, .width = 4, .heads = 2};
  const auto module = c.attention(test::place(kFloat64));
  const Variable data(test::normal({2, 6, 4}, kFloat64, 1)), values(test::normal({2, 6, 4}, kFloat64, 2));
  const auto out = [&](const Variable& v) { return module->forward({v, data, c.mask(), {}}); };
  // Affine in the values as long as the data stay: f(2v) - f(v) = f(v) - f(0).
  const Variable nothing(zeros({2, 6, 4}, kFloat64, test::device()));
  CHECK_CLOSE(sub(out(add(values, values)), out(values)).value(), sub(out(values), out(nothing)).value(), 1e-14);
}

TEST_CASE("SoftmaxAttention gradients") {
  for (const Case& c : cases()) {
    if (c.positions > 10 || c.positions * c.batch() == 0) continue;
    const auto module = c.attention(test::place(kFloat64));
    const Mask mask = c.mask();
    const Variable real(mask.defined()
                            ? mask.real.unsqueeze(2).to(kFloat64)
                            : full({1, 1, 1}, 1, kFloat64, test::device()));  // padded results are unspecified
    const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[1], mask, {}}), real); };
    const Shape shape = {c.batch(), c.positions, c.width};
    CHECK_MODULE_GRADIENTS(*module, f, {test::leaf(shape, 1), test::leaf(shape, 2)});
  }
}

TEST_CASE("SoftmaxAttention drops results while training") {
  const auto module = make_attention(test::place(kFloat32), {.width = 32, .heads = 2, .dropout = 0.5});
  const Variable x(test::normal({2, 8, 32}, kFloat32, 1));
  const Tensor out = module->forward({x, x, {}, random_state(2)}).value().to(kCpu).contiguous();
  Index dropped = 0;
  for (const float value : out.span<float>()) dropped += value == 0;
  CHECK(dropped > 192);
  CHECK(dropped < 320);
}

TEST_CASE("Attention names arguments that do not fit") {
  const auto module = make_attention(test::place(kFloat32), {.width = 4, .heads = 2});
  const auto run = [&](const Shape& values, const Shape& data, const Mask& mask) {
    return module->forward(
        {Variable(zeros(values, kFloat32, test::device())), Variable(zeros(data, kFloat32, test::device())), mask, {}});
  };
  CHECK_THROWS_WITH_AS(run({2, 3, 5}, {2, 3, 5}, {}), doctest::Contains("attention: values is [2, 3, 5] float32"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(run({2, 3, 4}, {2, 2, 4}, {}), doctest::Contains("attention: data is [2, 2, 4] float32"),
                       ShapeError);
  CHECK_THROWS_AS(run({2, 3, 4}, {2, 3, 4}, prefix_mask({1}, 3)), ShapeError);
  CHECK_THROWS_WITH_AS(module->forward({}), "attention: values is undefined", Error);
  const Variable x(zeros({2, 3, 4}, kFloat32, test::device()));
  CHECK_THROWS_WITH_AS(module->mixing_matrix({x, {}, {}, {}}), "attention: data is undefined", Error);
}

TEST_CASE("make_attention lists what is legal") {
  const auto make = [](const AttentionConfig& config) { return make_attention(test::place(kFloat32), config); };
  CHECK_THROWS_WITH_AS(make({.kind = "nistrom", .width = 4}),
                       doctest::Contains("make_attention: kind: 'nistrom', expected one of softmax"), Error);
  CHECK_THROWS_WITH_AS(make({}), "attention: width is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(make({.width = 4, .heads = 0}), "attention: heads is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(make({.width = 4, .head_width = -1}), "attention: head_width is -1, expected 0 or more", Error);
  for (const std::string& kind : attention_kinds())
    CHECK_THROWS_WITH_AS(make({.kind = kind, .width = 4, .max_length = -1}),
                         "attention: max_length is -1, expected 0 or more", Error);
  CHECK_THROWS_WITH_AS(make({.width = 6, .heads = 4}),
                       "attention: width 6 does not divide by 4 heads; give head_width or another number of heads",
                       Error);
  CHECK(make({.width = 6, .heads = 4, .head_width = 3})->parameter_count() == 3 * (6 * 12 + 12) + 12 * 6 + 6);
  using Kinds = std::vector<std::string>;
  CHECK(attention_kinds() == Kinds{"softmax", "nystrom", "fsat", "paramixer", "combiner", "local"});
}

}  // namespace
}  // namespace subquad::nn
