#include "subquad/kernels/dropout/dropout.h"

#include <cmath>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad {
namespace {

using namespace subquad::test;

RandomState state(std::initializer_list<Index> samples, Index step) {
  return {.seed = 11,
          .stream = stream_id("dropout"),
          .step = here(tensor<Index>({step}, {1})),
          .samples = here(tensor<Index>(samples, {static_cast<Index>(samples.size())}))};
}

RandomState on_cpu(const RandomState& random) {
  return {random.seed, random.stream, random.step.to(kCpu), random.samples.to(kCpu)};
}

// The formula of core/rng.h, element by element.
Tensor slow_dropout(const Tensor& input, double probability, const RandomState& state) {
  const Tensor x = doubles(input);
  const RandomState random = on_cpu(state);
  const Index batch = x.dim(0), width = x.dim(-1);
  Tensor out = zeros(x.shape(), kFloat64, kCpu);
  const Index positions = out.size() == 0 ? 0 : out.size() / batch / width;
  const PhiloxKey key = philox_key(random.seed, random.stream);
  for (Index b = 0; b < batch; ++b)
    for (Index p = 0; p < positions; ++p)
      for (Index f = 0; f < width; ++f) {
        const PhiloxCounter counter = {static_cast<std::uint32_t>(f / 4), static_cast<std::uint32_t>(p),
                                       static_cast<std::uint32_t>(random.samples.data<Index>()[b]),
                                       static_cast<std::uint32_t>(random.step.data<Index>()[0])};
        const std::uint32_t word = philox4x32(counter, key)[static_cast<std::size_t>(f % 4)];
        const Index flat = (b * positions + p) * width + f;
        if (uniform_float(word) >= probability) out.data<double>()[flat] = x.data<double>()[flat] / (1 - probability);
      }
  return out;
}

}  // namespace

TEST_CASE("dropout follows the formula of its random words") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{3, 1}, Shape{3, 7}, Shape{3, 0}, Shape{3, 5, 8}, Shape{3, 2, 3, 13},
                               Shape{3, 2, 259}, Shape{3, 0, 4}, Shape{3, 40, 64}})
      for (const double probability : {0.1, 0.5, 0.99}) {
        CAPTURE(shape);
        CAPTURE(probability);
        const Tensor x = normal(shape, dtype, 1);
        const RandomState random = state({5, 70'000, 0}, 42);
        const Tensor want = slow_dropout(x, probability, random);
        for_each_simd_target([&] {
          CHECK_CLOSE(kernels::dropout(x, probability, random), want, pointwise_tolerance(dtype));
          CHECK_CLOSE(kernels::dropout_grad(x, probability, random), want, pointwise_tolerance(dtype));
        });
      }
    CHECK_EQ(kernels::dropout(zeros({0, 3}, dtype, device()), 0.5, state({}, 1)).shape(), Shape{0, 3});
  });
}

TEST_CASE("dropout: every device drops the same elements") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{3, 90, 64}, Shape{3, 41, 27}}) {  // whole quads of features, and ragged ones
      const Tensor x = normal(shape, dtype, 1);
      const RandomState random = state({7, 0, 1 << 20}, 9);
      CHECK(same_bits(kernels::dropout(x, 0.3, random), kernels::dropout(x.to(kCpu), 0.3, on_cpu(random))));
    }
    const Tensor x = normal({1 + 2 * 3 * 8}, dtype, 2), odd = x.slice(0, 1, 49).reshape({2, 3, 8});  // not aligned
    CHECK(
        same_bits(kernels::dropout(odd, 0.3, state({1, 2}, 5)), kernels::dropout(odd.clone(), 0.3, state({1, 2}, 5))));
  });
}

TEST_CASE("dropout keeps 1 - p of the elements, and other ones at each step and in each stream") {
  const Tensor ones = full({2, 250, 400}, 1, kFloat32, device());
  for (const double probability : {0.1, 0.5, 0.9}) {
    RandomState random = state({1, 2}, 1);
    const Tensor first = kernels::dropout(ones, probability, random), values = first.to(kCpu);
    Index kept = 0, dropped = 0;
    for (const float v : values.span<float>()) {
      kept += v == static_cast<float>(1 / (1 - probability));
      dropped += v == 0;
    }
    CHECK_EQ(kept + dropped, ones.size());
    const double n = static_cast<double>(ones.size());
    CHECK_LT(std::fabs(static_cast<double>(kept) - n * (1 - probability)),
             4 * std::sqrt(n * probability * (1 - probability)));
    CHECK_FALSE(same_bits(kernels::dropout(ones, probability, state({1, 2}, 2)), first));
    CHECK_FALSE(same_bits(kernels::dropout(ones, probability, random.with_stream(3)), first));
  }
}

TEST_CASE("dropout: batch split, order and padding do not change a sample's bits") {
  const Tensor x = normal({3, 6, 10}, kFloat32, 1);
  const Tensor whole = kernels::dropout(x, 0.3, state({4, 9, 2}, 7));
  for (Index b = 0; b < 3; ++b) {
    const Index sample = std::array<Index, 3>{4, 9, 2}[static_cast<std::size_t>(b)];
    const Tensor alone = x.slice(0, b, b + 1);
    CHECK(same_bits(kernels::dropout(alone, 0.3, state({sample}, 7)), whole.slice(0, b, b + 1)));
    Tensor padded = zeros({1, 50, 10}, kFloat32, device());
    Tensor real = padded.slice(1, 0, 6);
    copy(alone, real);
    CHECK(same_bits(kernels::dropout(padded, 0.3, state({sample}, 7)).slice(1, 0, 6), whole.slice(0, b, b + 1)));
  }
}

TEST_CASE("dropout with probability 0 is a copy and needs no random state") {
  const Tensor x = normal({2, 3}, kFloat64, 1);
  const Tensor out = kernels::dropout(x, 0, {});
  CHECK(same_bits(out, x));
  CHECK_FALSE(out.shares_storage_with(x));
}

TEST_CASE("dropout: the same bits for any number of threads and any SIMD target") {
  const Tensor x = normal({2, 900, 70}, kFloat32, 1);  // more work than parallel_for does on one thread
  const RandomState random = state({0, 1}, 3);
  const Tensor want = kernels::dropout(x, 0.2, random);
  for_each_simd_target([&] {
    CHECK(same_bits(kernels::dropout(x, 0.2, random), want));
    CHECK(same_for_any_thread_count([&] { return std::vector<Tensor>{kernels::dropout(x, 0.2, random)}; }));
  });
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("dropout: complaints") {
    const Tensor x = zeros({2, 3}, kFloat32, kCpu);
    const RandomState random = state({0, 1}, 0);
    CHECK_THROWS_WITH_AS(kernels::dropout(x, 1, random), "dropout: probability is 1, expected 0 <= probability < 1",
                         Error);
    CHECK_THROWS_WITH_AS(kernels::dropout_grad(x, -0.1, random),
                         "dropout_grad: probability is -0.1, expected 0 <= probability < 1", Error);
    CHECK_THROWS_WITH_AS(kernels::dropout(x, std::nan(""), random),
                         "dropout: probability is nan, expected 0 <= probability < 1", Error);
    CHECK_THROWS_WITH_AS(kernels::dropout(x, 0.5, {}), "dropout: random.step is undefined", Error);
    CHECK_THROWS_WITH_AS(kernels::dropout(x, 0.5, state({0, 1, 2}, 0)),
                         "dropout: random.samples is [3] int64 cpu, expected shape [2]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::dropout(x.select(0, 0), 0.5, random),
                         "dropout: x is [3] float32 cpu, expected [B, ..., D]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::dropout(zeros({2, 3}, kInt64, kCpu), 0.5, random),
                         "dropout: x is [2, 3] int64 cpu, expected float32 or float64", DTypeError);
    CHECK_THROWS_AS(kernels::dropout(zeros({3, 2}, kFloat32, kCpu).transpose(0, 1), 0.5, random), ShapeError);
  }
}

TEST_CASE("dropout: the random state lies where x does") {
  if (device().is_cpu()) return;
  const Tensor x = zeros({2, 3}, kFloat32, device());
  RandomState random = state({0, 1}, 0);
  random.step = random.step.to(kCpu);
  CHECK_THROWS_WITH_AS(kernels::dropout(x, 0.5, random),
                       cat("dropout: random.step is [1] int64 cpu, expected on ", device(), " like x").c_str(),
                       DeviceError);
}

}  // namespace subquad
