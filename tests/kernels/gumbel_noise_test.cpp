#include "subquad/kernels/gumbel_noise/gumbel_noise.h"

#include <cmath>

#include "subquad/core/graph.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

RandomState random_of(std::initializer_list<Index> samples, Index step = 3) {
  return {.seed = 5,
          .stream = 7,
          .step = here(tensor<Index>({step}, {1})),
          .samples = here(tensor<Index>(samples, {static_cast<Index>(samples.size())}))};
}

TEST_CASE("gumbel_noise is a function of seed, stream, step, sample, position and head") {
  const std::vector<Index> samples = {11, 4, 9};
  const RandomState random = random_of({11, 4, 9});
  for_each_float([&](DType dtype) {
    const Tensor noise = kernels::gumbel_noise({3, 5, 7}, dtype, random);
    for (Index b = 0; b < 3; ++b)
      for (Index h = 0; h < 5; ++h)
        for (Index n = 0; n < 7; ++n) {
          const PhiloxCounter words = philox4x32({static_cast<std::uint32_t>(h / 4), static_cast<std::uint32_t>(n),
                                                  static_cast<std::uint32_t>(samples[static_cast<std::size_t>(b)]), 3},
                                                 philox_key(5, 7));
          const double u = (std::floor(words[static_cast<std::size_t>(h % 4)] / 256.0) + 0.5) / 16777216.0;
          CHECK(at(noise, {b, h, n}) == doctest::Approx(-std::log(-std::log(u))).epsilon(1e-6));
        }
  });
  const Tensor longer = kernels::gumbel_noise({1, 5, 20}, kFloat32, random_of({4}));
  CHECK(same_bits(longer.slice(2, 0, 7), kernels::gumbel_noise({3, 5, 7}, kFloat32, random).slice(0, 1, 2)));
}

TEST_CASE("gumbel_noise has the distribution's mean and variance") {
  const Tensor noise = kernels::gumbel_noise({2, 4, 50000}, kFloat64, random_of({0, 1})).to(kCpu);
  double sum = 0, squares = 0;
  for (const double x : noise.span<double>()) sum += x, squares += x * x;
  const double count = static_cast<double>(noise.size()), mean = sum / count;
  CHECK(mean == doctest::Approx(0.57721566).epsilon(0.02));  // Euler's constant; deviation of the mean 0.002
  CHECK(squares / count - mean * mean == doctest::Approx(1.64493407).epsilon(0.02));  // pi^2 / 6
}

TEST_CASE("gumbel_noise is scaled, and fades with the steps") {
  const auto noise = [](const kernels::GumbelOptions& options, Index step) {
    return kernels::gumbel_noise({1, 2, 5}, kFloat64, random_of({4}, step), options).to(kCpu);
  };
  const auto times = [](Tensor x, double factor) {
    for (double& value : x.span<double>()) value *= factor;
    return x;
  };
  CHECK_CLOSE(noise({.scale = 0.3}, 3), times(noise({}, 3), 0.3), 1e-15);
  CHECK_CLOSE(noise({.scale = 2, .fade_steps = 8}, 6), times(noise({}, 6), 0.5), 1e-15);
  for (const Index step : {8, 9, 1000})
    CHECK_CLOSE(noise({.scale = 2, .fade_steps = 8}, step), zeros({1, 2, 5}, kFloat64, kCpu), 0);
}

TEST_CASE("gumbel_noise gives the same bits for any number of threads, and takes any size") {
  const RandomState random = random_of({11, 4});
  CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
    return {kernels::gumbel_noise({2, 5, 5000}, kFloat32, random)};
  }));
  CHECK(kernels::gumbel_noise({2, 3, 0}, kFloat32, random).size() == 0);
  CHECK(kernels::gumbel_noise({0, 3, 4}, kFloat32, random_of({})).size() == 0);
}

TEST_SUITE("cuda") {
  TEST_CASE("gumbel_noise in a graph is drawn anew at every step") {
    RandomState random = random_of({11, 4});
    Tensor noise = kernels::gumbel_noise({2, 3, 40}, kFloat32, random);
    Graph graph = Graph::capture(device(), [&] { noise = kernels::gumbel_noise({2, 3, 40}, kFloat32, random); });
    for (const Index step : {3, 4}) {
      fill(random.step, static_cast<double>(step));
      graph.replay();
      CHECK(same_bits(noise, kernels::gumbel_noise({2, 3, 40}, kFloat32, random_of({11, 4}, step))));
    }
  }
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("gumbel_noise names what does not fit") {
    const RandomState random = random_of({11, 4});
    CHECK_THROWS_WITH_AS(kernels::gumbel_noise({2, 3}, kFloat32, random),
                         "gumbel_noise: shape is [2, 3], expected [B, H, N]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::gumbel_noise({3, 1, 3}, kFloat32, random),
                         doctest::Contains("gumbel_noise: random.samples is [2] int64"), ShapeError);
    CHECK_THROWS_WITH_AS(kernels::gumbel_noise({2, 1, 3}, kFloat32, random, {.scale = NAN}),
                         "gumbel_noise: scale is nan, expected a finite number", Error);
    CHECK_THROWS_WITH_AS(kernels::gumbel_noise({2, 1, 3}, kFloat32, random, {.fade_steps = -1}),
                         "gumbel_noise: fade_steps is -1, expected 0 (the scale stays) or more", Error);
    CHECK_THROWS_WITH_AS(kernels::gumbel_noise({2, 1, 3}, kInt64, random),
                         doctest::Contains("gumbel_noise: the result"), DTypeError);
  }
}

}  // namespace
}  // namespace subquad::test
