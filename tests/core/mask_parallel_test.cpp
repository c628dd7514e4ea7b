#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <vector>

#include "subquad/core/check.h"
#include "subquad/core/mask.h"
#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;
using test::here;

TEST_CASE("a mask from lengths is a prefix mask") {
  const Mask mask = Mask::from_lengths(here(tensor<Index>({3, 0, 4}, {3})), 4);
  CHECK(mask.prefix);
  CHECK_EQ(mask.real.device(), device());
  CHECK_EQ(mask.lengths.device(), device());
  CHECK_EQ(cat(mask.to(kCpu).real),
           "[[true, true, true, false],\n [false, false, false, false],\n [true, true, true, true]]  [3, 4] bool cpu");
  CHECK_THROWS_WITH_AS(Mask::from_lengths(tensor<Index>({3, 5}, {2}), 4),
                       "Mask::from_lengths: sample 1 has length 5, expected 0 to 4", Error);
  CHECK_THROWS_AS(Mask::from_lengths(tensor<float>({3.0f}, {1}), 4), DTypeError);
  CHECK_EQ(Mask::from_lengths(tensor<Index>({}, {0}), 4).real.shape(), Shape{0, 4});
}

TEST_CASE("a mask from booleans knows its lengths and whether it is a prefix") {
  const Mask holes = Mask::from_bool(here(tensor<bool>({true, false, true, false, false, false}, {2, 3})));
  CHECK_FALSE(holes.prefix);
  CHECK_EQ(cat(holes.to(kCpu).lengths), "[2, 0]  [2] int64 cpu");
  CHECK(Mask::from_bool(tensor<bool>({true, true, false, false, false, false}, {2, 3})).prefix);
}

TEST_CASE("check_mask names what does not fit") {
  const Mask mask = Mask::from_lengths(tensor<Index>({3}, {1}), 4);
  check_mask("attention", Mask(), 2, 5);
  CHECK_THROWS_WITH_AS(check_mask("attention", mask, 2, 4), "attention: mask is [1, 4] bool cpu, expected shape [2, 4]",
                       ShapeError);
}

TEST_CASE("a mask put together by hand is checked") {
  const Mask whole = Mask::from_lengths(tensor<Index>({3, 4}, {2}), 4);
  const Mask sliced{whole.real.slice(1, 0, 3), whole.lengths, true};
  CHECK_THROWS_WITH_AS(check_mask("op", sliced, 2, 3),
                       "op: mask is [2, 3] bool cpu with strides [4, 1], expected contiguous", ShapeError);
  const Mask bytes{whole.real.to(kUInt8), whole.lengths, true};
  CHECK_THROWS_WITH_AS(check_mask("op", bytes, 2, 4), "op: mask is [2, 4] uint8 cpu, expected bool", DTypeError);
  const Mask without_lengths{whole.real, {}, true};
  CHECK_THROWS_WITH_AS(check_mask("op", without_lengths, 2, 4), "op: the mask's lengths is undefined", Error);
}

TEST_CASE("a mask does not change with what it was made from") {
  Tensor lengths = here(tensor<Index>({2}, {1}));
  const Mask from_lengths = Mask::from_lengths(lengths, 4);
  fill(lengths, 4);
  CHECK_EQ(test::at(from_lengths.lengths, 0), 2);
  Tensor real = from_lengths.real.clone();
  const Mask from_bool = Mask::from_bool(real);
  fill(real, 0);
  CHECK_EQ(test::at(from_bool.real, 0), 1);
}

TEST_CASE("parallel_for visits every index once") {
  for (const Index count : {Index{0}, Index{1}, Index{7}, Index{1000}}) {
    for (const Index work : {Index{1}, Index{1} << 40}) {
      std::vector<int> visits(static_cast<std::size_t>(count));
      parallel_for(count, work > 1 ? 1'000'000 : 1, [&](Index i) { ++visits[static_cast<std::size_t>(i)]; });
      CHECK(std::all_of(visits.begin(), visits.end(), [](int v) { return v == 1; }));
    }
  }
}

TEST_CASE("parallel_for hands on an exception and nests serially") {
  CHECK_THROWS_WITH_AS(parallel_for(1000, 1'000'000,
                                    [](Index i) {
                                      if (i == 700) throw Error("seven hundred");
                                    }),
                       "seven hundred", Error);
  std::atomic<int> visits = 0;
  parallel_for(10, 1'000'000, [&](Index) { parallel_for(10, 1'000'000, [&](Index) { ++visits; }); });
  CHECK_EQ(visits, 100);
}

TEST_CASE("parallel_chunks cuts by shape") {
  std::vector<std::pair<Index, Index>> chunks;
  parallel_chunks(10, 4, 1, [&](Index begin, Index end) { chunks.emplace_back(begin, end); });
  CHECK_EQ(chunks, std::vector<std::pair<Index, Index>>{{0, 4}, {4, 8}, {8, 10}});
}

TEST_CASE("flush_denormals reaches every thread of the pool") {
  flush_denormals();
  std::vector<float> results(64);
  volatile float tiny = std::numeric_limits<float>::min();
  parallel_for(64, 1'000'000, [&](Index i) { results[static_cast<std::size_t>(i)] = tiny * 0.5f; });
  CHECK(std::all_of(results.begin(), results.end(), [](float x) { return x == 0; }));
}

TEST_CASE("checks name op, argument, what came and what was expected") {
  const Tensor a = zeros({2, 3}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(check_rank("op", "x", a, 3), "op: x is [2, 3] float32 cpu, expected rank 3", ShapeError);
  CHECK_THROWS_WITH_AS(check_shape("op", "x", a, {3}), "op: x is [2, 3] float32 cpu, expected shape [3]", ShapeError);
  CHECK_THROWS_WITH_AS(check_dtype("op", "x", a, kInt64), "op: x is [2, 3] float32 cpu, expected int64", DTypeError);
  CHECK_THROWS_WITH_AS(check_float("op", "x", a.to(kInt32)), "op: x is [2, 3] int32 cpu, expected float32 or float64",
                       DTypeError);
  CHECK_THROWS_WITH_AS(check_contiguous("op", "x", a.transpose(0, 1)),
                       "op: x is [3, 2] float32 cpu with strides [1, 3], expected contiguous", ShapeError);
  CHECK_THROWS_WITH_AS(check_alike("op", "x", a, "y", a.to(kFloat64)),
                       "op: y is [2, 3] float64 cpu, expected float32 like x", DTypeError);
  CHECK_THROWS_WITH_AS(check_defined("op", "x", Tensor()), "op: x is undefined", Error);
}

TEST_SUITE("cuda") {
  TEST_CASE("checks name the device of a tensor that is on another one") {
    const Tensor a = zeros({2, 3}, kFloat32, kCpu), b = zeros({2, 3}, kFloat32, device());
    CHECK_THROWS_WITH_AS(check_alike("op", "x", a, "y", b), "op: y is [2, 3] float32 cuda:0, expected on cpu like x",
                         DeviceError);
    CHECK_THROWS_WITH_AS(check_alike("op", "x", b, "y", a), "op: y is [2, 3] float32 cpu, expected on cuda:0 like x",
                         DeviceError);
  }
}

}  // namespace
}  // namespace subquad
