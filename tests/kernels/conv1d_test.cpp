#include "subquad/kernels/conv1d/conv1d.h"
#include "subquad/kernels/copy/copy.h"

#include <doctest/doctest.h>

#include <limits>

#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

struct Case {
  Shape x;  // [B, H, N, C]
  Index taps;
  std::vector<std::int64_t> lengths = {};  // none: no mask
  bool scattered = false;

  Mask mask() const {
    if (lengths.empty()) return {};
    Tensor real = zeros({x[0], x[2]}, kBool, kCpu);
    for (Index b = 0; b < x[0]; ++b)
      for (Index i = 0; i < lengths[static_cast<std::size_t>(b)]; ++i)
        real.view<bool, 2>()(b, scattered ? (7 * i + b) % x[2] : i) = true;  // x[2] is no multiple of 7
    return Mask::from_bool(real).to(device());
  }
};

std::vector<Case> cases() {
  return {{{2, 2, 20, 4}, 5},
          {{1, 3, 9, 33}, 35},
          {{1, 1, 1, 1}, 1},
          {{2, 1, 3, 17}, 3, {3, 1}},
          {{2, 2, 31, 40}, 7, {20, 0}, true},
          {{1, 2, 530, 3}, 35, {400}, true},
          {{1, 1, 257, 64}, 9, {256}},
          {{1, 2, 140, 5}, 65},
          {{2, 1, 70, 3}, 151, {70, 33}},
          {{0, 2, 8, 4}, 3},
          {{2, 2, 0, 4}, 3},
          {{2, 0, 8, 4}, 3},
          {{1, 2, 8, 0}, 3}};
}

struct Slow {
  Tensor out, dx, dtaps;
};
Slow slow_conv1d(const Tensor& x, const Tensor& taps, const Mask& mask, const Tensor& base, const Tensor& dout) {
  const Mask real = mask.to(kCpu);
  Slow r = {doubles(base).clone(), zeros(x.shape(), kFloat64, kCpu), zeros(taps.shape(), kFloat64, kCpu)};
  const Index count = taps.dim(1);
  const Tensor in = doubles(x), up = doubles(dout), filter = doubles(taps);
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index h = 0; h < x.dim(1); ++h)
      for (Index n = 0; n < x.dim(2); ++n)
        for (Index t = 0; t < count; ++t) {
          const Index from = n + t - count / 2;
          if (from < 0 || from >= x.dim(2) || (real.defined() && at(real.real, {b, from}) == 0)) continue;
          for (Index c = 0; c < x.dim(3); ++c) {
            const auto value = in.view<const double, 4>()(b, h, from, c), upstream = at(up, {b, h, n, c});
            r.out.view<double, 4>()(b, h, n, c) += at(filter, {h, t}) * value;
            r.dx.view<double, 4>()(b, h, from, c) += at(filter, {h, t}) * upstream;
            r.dtaps.view<double, 2>()(h, t) += value * upstream;
          }
        }
  return r;
}

TEST_CASE("conv1d and its gradients equal the loop" * doctest::test_suite("less shared memory")) {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : cases()) {
        CAPTURE(c.x);
        const Tensor x = normal(c.x, dtype, 1), taps = uniform({c.x[1], c.taps}, dtype, -1, 1, 2);
        const Tensor base = normal(c.x, dtype, 3), dout = normal(c.x, dtype, 4);
        const Slow want = slow_conv1d(x, taps, c.mask(), base, dout);
        const double tolerance = dot_tolerance(dtype, c.taps);
        CHECK_CLOSE(kernels::conv1d(x, taps, c.mask(), base), want.out, tolerance);
        const auto [dx, dtaps, dbase] = kernels::conv1d_grad(dout, x, taps, c.mask());
        CHECK_CLOSE(dx, want.dx, tolerance);
        CHECK_CLOSE(dtaps, want.dtaps, dot_tolerance(dtype, x.size()));
      }
    });
  });
}

// Neither base nor dout is read at padded positions where results are 0 there.
TEST_CASE("conv1d with zeros in padded rows") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : cases()) {
        if (c.lengths.empty()) continue;
        CAPTURE(c.x);
        const Tensor x = normal(c.x, dtype, 1), taps = uniform({c.x[1], c.taps}, dtype, -1, 1, 2);
        const Mask mask = c.mask();
        const Tensor real = mask.real.unsqueeze(1).unsqueeze(3), nothing = zeros({1}, dtype, device());
        const Tensor nan = full({1}, std::numeric_limits<double>::quiet_NaN(), dtype, device());
        const auto with = [&](const Tensor& padding, std::uint64_t seed) {
          return kernels::where(real, normal(c.x, dtype, seed), padding);
        };
        const auto zero = kernels::PaddedRows::zero;
        const Tensor out = kernels::conv1d(x, taps, mask, with(nan, 3), zero);
        CHECK(same_bits(out, kernels::where(real, kernels::conv1d(x, taps, mask, with(nothing, 3)), nothing)));
        const auto got = kernels::conv1d_grad(with(nan, 4), x, taps, mask, {zero, true});
        const auto want = kernels::conv1d_grad(with(nothing, 4), x, taps, mask);
        CHECK(same_bits(got.dx, want.dx));
        CHECK(same_bits(got.dtaps, want.dtaps));
        CHECK(same_bits(got.dbase, with(nothing, 4)));
      }
    });
  });
}

TEST_CASE("conv1d's gradient of the taps in parts adds up to the whole, padding's parts last") {
  for (const Index positions : {300, 600}) {
    const Tensor x = normal({2, 2, positions, 40}, kFloat32, 1), taps = normal({2, 5}, kFloat32, 2);
    const Mask mask = Mask::from_lengths(tensor<Index>({140, 90}, {2}), positions).to(device());
    const Tensor whole = kernels::conv1d_grad(x, x, taps, mask, {.padded = kernels::PaddedRows::zero}).dtaps;
    const Tensor parts = kernels::conv1d_grad(x, x, taps, mask, {kernels::PaddedRows::zero, false, true}).dtaps;
    REQUIRE(parts.rank() == 3);
    CHECK_CLOSE(kernels::sum(parts, {0}), doubles(whole), dot_tolerance(kFloat32, x.size()));
    const Index with_tokens = 2 * 2 * 2;  // two chunks of positions, two of features, two samples
    if (device().is_cpu())
      CHECK(parts.dim(0) == 1);
    else
      CHECK_CLOSE(parts.slice(0, with_tokens, parts.dim(0)),
                  zeros(parts.shape().with(0, parts.dim(0) - with_tokens), kFloat64, kCpu), 0);
  }
}

TEST_CASE("conv1d without a base") {
  const Tensor x = normal({1, 2, 9, 5}, kFloat32, 1), taps = normal({2, 3}, kFloat32, 2);
  CHECK(same_bits(kernels::conv1d(x, taps), kernels::conv1d(x, taps, {}, zeros_like(x))));
}

TEST_CASE("conv1d reads views where they lie") {
  const auto heads = [](std::uint64_t seed) { return normal({2, 12, 3, 4}, kFloat32, seed).transpose(1, 2); };
  const Tensor x = heads(1), base = heads(2), dout = normal({2, 3, 4, 12}, kFloat32, 3).transpose(2, 3);
  const Tensor taps = normal({3, 5}, kFloat32, 4);
  CHECK(same_bits(kernels::conv1d(x, taps, {}, base), kernels::conv1d(x.contiguous(), taps, {}, base.contiguous())));
  const auto got = kernels::conv1d_grad(dout, x, taps);
  const auto want = kernels::conv1d_grad(dout.contiguous(), x.contiguous(), taps);
  CHECK(same_bits(got.dx, want.dx));
  CHECK(same_bits(got.dtaps, want.dtaps));
}

// Whole vectors of features in chunks that are all inside and real are read in place, others are packed.
TEST_CASE("conv1d in place equals the loop, and packed rows bit by bit" * doctest::test_suite("cpu")) {
  for_each_simd_target([] {
    for (const Index width : {16, 64})
      for (const Index tap_count : {1, 5, 35}) {
        CAPTURE(width);
        CAPTURE(tap_count);
        const auto heads = [&](std::uint64_t seed) {
          return normal({1, 800, 3, width}, kFloat32, seed).transpose(1, 2);
        };
        const Tensor x = heads(1), base = heads(2), dout = heads(3), taps = normal({3, tap_count}, kFloat32, 4);
        const auto of_length = [](Index length) {
          return Mask::from_lengths(tensor<Index>({length}, {1}), 800).to(device());
        };
        for (const Mask& mask : {Mask(), of_length(650)}) {
          const Slow want = slow_conv1d(x, taps, mask, base, dout);
          const Tensor out = kernels::conv1d(x, taps, mask, base);
          const auto got = kernels::conv1d_grad(dout, x, taps, mask);
          CHECK_CLOSE(out, want.out, dot_tolerance(kFloat32, tap_count));
          CHECK_CLOSE(got.dx, want.dx, dot_tolerance(kFloat32, tap_count));
          CHECK_CLOSE(got.dtaps, want.dtaps, dot_tolerance(kFloat32, x.size()));
        }
        // Features beside others of the same rows: no whole vector more, so all rows are packed.
        const auto wider = [&](const Tensor& t) { return kernels::concat({t, t.slice(3, 0, 1)}, 3); };
        CHECK(same_bits(kernels::conv1d(wider(x), taps, {}, wider(base)).slice(3, 0, width).contiguous(),
                        kernels::conv1d(x, taps, {}, base).contiguous()));
      }
  });
}

// Neither what stands at padded positions nor how many there are changes a bit.
TEST_CASE("conv1d does not see padding") {
  const Tensor taps = uniform({2, 9}, kFloat32, -1, 1, 2), x = normal({1, 2, 300, 6}, kFloat32, 1);
  const Tensor dout = normal({1, 2, 300, 6}, kFloat32, 3), shorter = x.slice(2, 0, 200).contiguous();
  const Mask mask = Mask::from_lengths(tensor<Index>({200}, {1}), 300).to(device());
  Tensor poisoned = x.clone(), padding = poisoned.slice(2, 200, 300);
  fill(padding, std::numeric_limits<double>::quiet_NaN());
  Tensor upstream = dout.clone(), nothing = upstream.slice(2, 200, 300);
  fill(nothing, 0);
  CHECK(same_bits(kernels::conv1d(poisoned, taps, mask).slice(2, 0, 200), kernels::conv1d(shorter, taps)));
  const auto got = kernels::conv1d_grad(upstream, poisoned, taps, mask);
  const auto want = kernels::conv1d_grad(dout.slice(2, 0, 200).contiguous(), shorter, taps);
  CHECK(same_bits(got.dx.slice(2, 0, 200), want.dx));
  CHECK(same_bits(got.dtaps, want.dtaps));
  CHECK_CLOSE(got.dx.slice(2, 200, 300), zeros({1, 2, 100, 6}, kFloat64, kCpu), 0);
}

TEST_CASE("conv1d gives the same bits for any number of threads") {
  const Tensor x = normal({3, 2, interpreted() ? 300 : 1000, 33}, kFloat32, 1), taps = normal({2, 35}, kFloat32, 2);
  CHECK(same_for_any_thread_count([&] {
    const auto [dx, dtaps, dbase] = kernels::conv1d_grad(x, x, taps);
    return std::vector<Tensor>{kernels::conv1d(x, taps), dx, dtaps};
  }));
}

TEST_CASE("conv1d names what does not fit") {
  const Tensor x = zeros({2, 3, 6, 3}, kFloat32, device());
  const auto run = [&](const Shape& taps) { return kernels::conv1d(x, zeros(taps, kFloat32, device())); };
  CHECK_THROWS_WITH_AS(
      run({2, 3}),
      cat("conv1d: taps is [2, 3] float32 ", device(), ", expected [3, K] = [H, K] with K odd, for x [2, 3, 6, 3]")
          .c_str(),
      ShapeError);
  CHECK_THROWS_WITH_AS(run({3, 4}), doctest::Contains("conv1d: taps is [3, 4]"), ShapeError);
  CHECK_THROWS_AS(run({3}), ShapeError);
  CHECK_THROWS_AS(kernels::conv1d(x, zeros({3, 3}, kFloat64, device())), DTypeError);
  CHECK_THROWS_WITH_AS(kernels::conv1d(x, zeros({3, 3}, kFloat32, device()), {}, x.slice(2, 0, 5)),
                       doctest::Contains("conv1d: base is [2, 3, 5, 3]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
