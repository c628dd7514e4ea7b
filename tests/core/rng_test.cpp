#include "subquad/core/rng.h"

#include <doctest/doctest.h>

#include <cmath>

#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

// The known-answer vectors that the authors of Random123 publish for philox4x32-10.
TEST_CASE("Philox4x32-10 gives the published answers") {
  CHECK_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
           PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
           PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a sequence repeats for the same seed and stream, and only for those") {
  Rng a(1, 2), b(1, 2), other_seed(2, 2), other_stream(1, 3);
  int equal_seed = 0, equal_stream = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint32_t word = a.next_u32();
    CHECK_EQ(word, b.next_u32());
    equal_seed += word == other_seed.next_u32();
    equal_stream += word == other_stream.next_u32();
  }
  CHECK_LT(equal_seed + equal_stream, 2);
}

// 4 standard errors: false alarms are rarer than once in ten thousand seeds, and the seed is fixed.
TEST_CASE("uniform, below and normal have their moments") {
  constexpr int kDraws = 20'000;
  Rng rng(7);
  double sum = 0, sum_normal = 0, squares = 0;
  std::array<int, 5> counts = {};
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    CHECK((u >= 0 && u < 1));
    sum += u;
    const double n = rng.normal();
    sum_normal += n;
    squares += n * n;
    ++counts.at(static_cast<std::size_t>(rng.below(5)));
  }
  CHECK_LT(std::fabs(sum / kDraws - 0.5), 4 * std::sqrt(1.0 / 12 / kDraws));
  CHECK_LT(std::fabs(sum_normal / kDraws), 4 * std::sqrt(1.0 / kDraws));
  CHECK_LT(std::fabs(squares / kDraws - 1), 4 * std::sqrt(2.0 / kDraws));
  for (const int count : counts) CHECK_LT(std::fabs(count - kDraws / 5), 4 * std::sqrt(kDraws * 0.2 * 0.8));
  CHECK_THROWS_WITH_AS(rng.below(0), "Rng::below: count is 0, expected at least 1", Error);
}

TEST_CASE("filled tensors do not depend on threads, and a prefix does not depend on the size") {
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = test::normal({5000}, kFloat64, 3);
  set_num_threads(3);
  const Tensor three = test::normal({5000}, kFloat64, 3);
  set_num_threads(before);
  CHECK(test::same_bits(one, three));
  CHECK(test::same_bits(test::normal({100}, kFloat64, 3), one.slice(0, 0, 100)));
  const Tensor u = test::doubles(test::uniform({5000}, kFloat32, -2, 3, 1));
  for (const double x : u.span<double>()) CHECK((x >= -2 && x <= 3));
}

TEST_CASE("every device gets the bits that the CPU draws") {
  Tensor here = empty({1000}, kFloat32, test::device()), cpu = empty({1000}, kFloat32, kCpu);
  fill_normal(here, 1, 2, 5, 6);
  fill_normal(cpu, 1, 2, 5, 6);
  CHECK(test::same_bits(here, cpu));
}

}  // namespace
}  // namespace subquad
