#include "subquad/kernels/compact/compact.h"

#include <cmath>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

// Two of three positions are real, here and there; sample 1 has none, sample 2 all.
Mask scattered(Index batch, Index positions) {
  Tensor real = empty({batch, positions}, kBool, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < positions; ++i)
      real.view<bool, 2>()(b, i) = b % 3 == 2 || (b % 3 == 0 && (i * 7 + b) % 3 != 0);
  return Mask::from_bool(here(real));
}

// x and out [B, A, N, C]
Tensor slow_compact(const Tensor& x, const Mask& mask) {
  const Tensor from = doubles(x);
  const Tensor real = mask.real.to(kCpu);
  Tensor to = zeros(x.shape(), kFloat64, kCpu);
  const auto in = from.view<const double, 4>();
  auto out = to.view<double, 4>();
  for (Index b = 0; b < in.dim(0); ++b)
    for (Index a = 0; a < in.dim(1); ++a)
      for (Index c = 0; c < in.dim(3); ++c) {
        Index front = 0;
        for (Index i = 0; i < in.dim(2); ++i)
          if (real.view<const bool, 2>()(b, i)) out(b, a, front++, c) = in(b, a, i, c);
      }
  return to;
}

}  // namespace

TEST_CASE("compact equals the slow loop, and spread brings every real row back to its place") {
  for (const Shape& shape :
       std::vector<Shape>{{3, 2, 7, 4}, {4, 1, 31, 3}, {3, 2, 2, 5}, {1, 2, 260, 1}, {0, 2, 5, 1}, {2, 1, 0, 3}})
    for_each_float([&](DType dtype) {
      const Mask mask = scattered(shape[0], shape[2]);
      const Tensor x = normal(shape, dtype, 1);
      const Tensor front = kernels::compact(x, mask, 2);
      CHECK_CLOSE(front, slow_compact(x, mask), 0);
      const Tensor back = kernels::spread(front, mask, 2);
      for (Index b = 0; b < shape[0]; ++b)
        for (Index i = 0; i < shape[2]; ++i) {
          const Tensor row = back.select(0, b).select(1, i), was = x.select(0, b).select(1, i);
          const bool is_real = at(mask.real, {b, i}) != 0;
          CHECK_CLOSE(row, (is_real ? was : zeros_like(was)), 0);
        }
      CHECK_CLOSE(kernels::compact(back, mask, 2), front, 0);
    });
}

TEST_CASE("compact takes positions along any dimension, views and every dtype") {
  const Mask mask = scattered(3, 7);
  const Tensor x = normal({3, 2, 7, 4}, kFloat32, 1);
  const Tensor want = kernels::compact(x, mask, 2);
  CHECK_CLOSE(kernels::compact(x.transpose(1, 2), mask, 1), want.transpose(1, 2), 0);
  CHECK_CLOSE(kernels::compact(x.transpose(2, 3), mask, -1), want.transpose(2, 3), 0);
  CHECK_CLOSE(kernels::compact(x.select(3, 1), mask, -1), want.select(3, 1), 0);
  const Tensor tokens = here(arange(21, kInt64, kCpu)).reshape({3, 7});
  CHECK(same_bits(kernels::compact(tokens, mask, 1).slice(0, 0, 1), tensor<Index>({1, 2, 4, 5, 0, 0, 0}, {1, 7})));
}

TEST_CASE("compact moves elements of any size") {
  for (const Index width : {1, 2, 3}) {
    const Shape shape = {3, 2, 100, width};
    const Mask mask = scattered(3, 100);
    const Tensor bits = slow_compact(here(arange(600 * width, kFloat64, kCpu)).reshape(shape), mask);
    for (const DType dtype : {kUInt8, kBFloat16, kInt32, kInt64}) {
      const auto numbers = [&](const Tensor& t) {  // below 128, which every dtype holds
        Tensor small = t.clone();
        for (Index i = 0; i < small.size(); ++i) small.data<double>()[i] = std::fmod(small.data<double>()[i], 128);
        return small.to(dtype);
      };
      const Tensor x = here(numbers(arange(600 * width, kFloat64, kCpu))).reshape(shape);
      const Tensor front = kernels::compact(x, mask, 2);
      CHECK(same_bits(front, numbers(bits)));
      CHECK(same_bits(kernels::compact(kernels::spread(front, mask, 2), mask, 2), front));
    }
  }
}

TEST_CASE("compact of a prefix mask moves nothing") {
  const Tensor x = normal({2, 5, 3}, kFloat32, 1);
  for (const Mask& mask : {Mask(), Mask::from_lengths(here(tensor<Index>({5, 2}, {2})), 5)}) {
    CHECK(kernels::compact(x, mask, 1).shares_storage_with(x));
    CHECK(kernels::spread(x, mask, 1).shares_storage_with(x));
    CHECK(kernels::compact(mask).defined() == mask.defined());
  }
}

TEST_CASE("compact makes a prefix mask of the same lengths") {
  for (const Index positions : {2, 7, 100}) {
    const Mask mask = scattered(4, positions), front = kernels::compact(mask);
    const Mask want = Mask::from_lengths(mask.lengths, positions);
    CHECK(front.prefix);
    CHECK(same_bits(front.real, want.real));
    CHECK(same_bits(front.lengths, want.lengths));
  }
}

// More than the 8192 that one round of the CUDA kernel counts.
TEST_CASE("compact of many positions") {
  const Mask mask = scattered(1, 9000);
  const Tensor x = normal({1, 1, 9000, 1}, kFloat32, 1), front = kernels::compact(x, mask, 2);
  CHECK_CLOSE(front, slow_compact(x, mask), 0);
  CHECK_CLOSE(kernels::compact(kernels::spread(front, mask, 2), mask, 2), front, 0);
}

TEST_CASE("compact gives the same bits for any number of threads") {
  const Mask mask = scattered(5, 900);
  const Tensor x = normal({5, 4, 900, 24}, kFloat32, 1);
  CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
    return {kernels::compact(x, mask, 2), kernels::spread(x, mask, 2)};
  }));
}

TEST_CASE("compact names what does not fit") {
  const Tensor x = zeros({2, 5, 3}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::compact(x, {}, 0),
                       "compact: dim is 0, expected that of the positions of x [2, 5, 3] = [B, .., N, ..]: 1 to 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::spread(x, {}, 3), doctest::Contains("spread: dim is 3"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::compact(x, scattered(2, 4), 1), doctest::Contains("compact: mask is [2, 4] bool"),
                       ShapeError);
}
}  // namespace subquad::test
