#include "subquad/nn/init.h"

#include <cmath>

#include "subquad/tests/support/compare.h"

namespace subquad::nn {
namespace {

struct Moments {
  double mean = 0, variance = 0, lowest = 0, highest = 0;
};

Moments moments(const Init& init) {
  Tensor weight = empty({300, 200}, kFloat64, kCpu);
  init(weight, 1, stream_id("weight"));
  Moments m;
  const double count = static_cast<double>(weight.size());
  for (const double x : weight.span<double>()) {
    m.mean += x / count;
    m.variance += x * x / count;
    m.lowest = std::min(m.lowest, x);
    m.highest = std::max(m.highest, x);
  }
  return m;
}

// 60,000 draws: the mean is known to deviation / sqrt(60000), the variance to about 0.6 % of itself (one deviation).
void check_moments(const Init& init, double mean, double variance, double bound) {
  const Moments m = moments(init);
  CHECK(std::fabs(m.mean - mean) <= 4 * std::sqrt(variance / 60000));
  CHECK(std::fabs(m.variance - m.mean * m.mean - variance) <= 0.03 * variance);
  CHECK(m.lowest >= mean - bound);
  CHECK(m.highest <= mean + bound);
}

TEST_SUITE("cpu") {  // values are drawn there and then copied
  TEST_CASE("initialisers have the variance and the bounds that their papers give") {
    const double wide = 6;  // deviations that 60,000 normal draws stay within
    check_moments(normal_init(0.5), 0, 0.25, wide * 0.5);
    check_moments(normal_init(0.5, 2), 2, 0.25, wide * 0.5);
    check_moments(uniform_init(-1, 3), 1, 16.0 / 12, 2);
    check_moments(xavier_uniform(), 0, 2.0 / 500, std::sqrt(6.0 / 500));
    check_moments(xavier_normal(), 0, 2.0 / 500, wide * std::sqrt(2.0 / 500));
    check_moments(kaiming_uniform(), 0, 2.0 / 300, std::sqrt(6.0 / 300));
    check_moments(kaiming_normal(), 0, 2.0 / 300, wide * std::sqrt(2.0 / 300));
  }

  TEST_CASE("zeros_init and ones_init") {
    Tensor t = empty({5}, kFloat32, kCpu);
    ones_init()(t, 1, 1);
    CHECK_CLOSE(t, full({5}, 1, kFloat64, kCpu), 0);
    zeros_init()(t, 1, 1);
    CHECK_CLOSE(t, zeros({5}, kFloat64, kCpu), 0);
  }

  TEST_CASE("fan-based initialisers want a matrix and take an empty one") {
    Tensor vector = empty({5}, kFloat32, kCpu), nothing = empty({0, 0}, kFloat32, kCpu);
    CHECK_THROWS_AS(xavier_uniform()(vector, 1, 1), ShapeError);
    CHECK_NOTHROW(kaiming_normal()(nothing, 1, 1));
  }
}

}  // namespace
}  // namespace subquad::nn
