#include "subquad/nn/pooling.h"

#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;

const std::vector<std::int64_t> kLengths = {4, 2, 0};

Tensor slow_mean(const Tensor& input, const Mask& device_mask, Index divisor) {
  const Tensor x = test::doubles(input);
  const Mask mask = device_mask.to(kCpu);
  Tensor out = zeros({x.dim(0), x.dim(2)}, kFloat64, kCpu);
  auto y = out.view<double, 2>();
  for (Index b = 0; b < x.dim(0); ++b) {
    Index count = 0;
    for (Index i = 0; i < x.dim(1); ++i) count += test::slow::is_real(mask, b, i);
    for (Index d = 0; d < x.dim(2); ++d) {
      for (Index i = 0; i < x.dim(1); ++i)
        if (test::slow::is_real(mask, b, i)) y(b, d) += test::at(x, {b, i, d});
      y(b, d) /= static_cast<double>(std::max<Index>(divisor > 0 ? divisor : count, 1));
    }
  }
  return out;
}

TEST_CASE("pool_mean equals the double loop") {
  test::for_each_float([](DType dtype) {
    const Tensor x = test::normal({3, 4, 5}, dtype, 1);
    for (const Mask& mask : {prefix_mask(kLengths, 4), Mask()})
      for (const Index divisor : {0, 16})
        CHECK_CLOSE(pool_mean(Variable(x), mask, divisor).value(), slow_mean(x, mask, divisor),
                    test::dot_tolerance(dtype, 4));
  });
  CHECK(pool_mean(Variable(zeros({0, 4, 5}, kFloat32, test::device())), {}).shape() == Shape{0, 5});
}

TEST_CASE("pool_cls takes the first position") {
  const Tensor x = test::normal({3, 4, 5}, kFloat64, 1);
  CHECK_CLOSE(pool_cls(Variable(x)).value(), x.select(1, 0), 0);
}

TEST_CASE("pool_flatten lays positions side by side, 0 where there is none") {
  const Tensor x = test::normal({3, 4, 2}, kFloat64, 1);
  const Mask mask = prefix_mask(kLengths, 4);
  const Tensor out = pool_flatten(Variable(x), mask, 6).value();
  REQUIRE(out.shape() == Shape{3, 12});
  for (Index b = 0; b < 3; ++b)
    for (Index i = 0; i < 6; ++i)
      for (Index d = 0; d < 2; ++d)
        CHECK(test::at(out, {b, 2 * i + d}) ==
              (i < kLengths[static_cast<std::size_t>(b)] ? test::at(x, {b, i, d}) : 0));
  CHECK_THROWS_WITH_AS(
      pool_flatten(Variable(x), mask, 3),
      cat("pool_flatten: x is [3, 4, 2] float64 ", test::device(), ", expected at most 3 positions").c_str(),
      ShapeError);
}

TEST_CASE("pooling gradients") {
  const Mask mask = prefix_mask(kLengths, 4);
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{pool_mean(in[0], mask)}; }, {test::leaf({3, 4, 2}, 1)});
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{pool_cls(in[0])}; }, {test::leaf({3, 4, 2}, 1)});
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{pool_flatten(in[0], mask, 5)}; },
                  {test::leaf({3, 4, 2}, 1)});
}

TEST_CASE("poolings have names") {
  for (const char* name : {"mean", "cls", "flatten"}) CHECK(pooling_name(parse_pooling(name)) == name);
  CHECK_THROWS_WITH_AS(parse_pooling("max"), "pooling: 'max', expected one of mean, cls, flatten", Error);
}

}  // namespace
}  // namespace subquad::nn
