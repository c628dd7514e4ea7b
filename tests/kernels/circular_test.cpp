#include "subquad/kernels/circular/circular.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

Mask lengths(const std::vector<Index>& n, Index positions) {
  return Mask::from_lengths(tensor<Index>(n, {static_cast<Index>(n.size())}), positions).to(device());
}

struct Case {
  Shape shape;                // [B, N, D]
  std::vector<Index> length;  // empty: no mask
  Mask mask() const { return length.empty() ? Mask() : lengths(length, shape[1]); }
};
const std::vector<Case> kCases = {{{2, 8, 3}, {}},
                                  {{1, 1, 1}, {}},
                                  {{3, 0, 2}, {}},
                                  {{0, 5, 2}, {}},
                                  {{2, 6, 0}, {}},
                                  {{4, 13, 5}, {13, 8, 1, 0}},
                                  {{1, 64, 32}, {}},
                                  {{2, 45, 16}, {45, 2}},
                                  {{3, 30, 33}, {30, 27, 3}},
                                  {{1, 97, 4}, {}},
                                  {{2, 200, 9}, {96, 199}},
                                  // samples enough that a block of a CUDA device takes several features
                                  {{90, 12, 21}, {}}};
// A CUDA device's shared memory holds 2048 (float64) to 8192 positions, fewer where they are padded.
const std::vector<Case> kLong = {{{2, 2100, 6}, {2099, 500}}, {{1, 4500, 1}, {}}, {{2, 4100, 1}, {4099, 0}}};

Tensor reference(const Tensor& a_in, const Tensor& b_in, const std::vector<Index>& length, bool correlate) {
  const Tensor a_wide = doubles(a_in), b_wide = doubles(b_in);
  const auto a = a_wide.view<const double, 3>(), b = b_wide.view<const double, 3>();
  Tensor result = zeros_like(a_wide);
  auto out = result.view<double, 3>();
  for (Index s = 0; s < out.dim(0); ++s) {
    const Index n = length.empty() ? out.dim(1) : length[static_cast<std::size_t>(s)];
    for (Index c = 0; c < out.dim(2); ++c)
      for (Index i = 0; i < n; ++i)
        for (Index j = 0, k = correlate && i > 0 ? n - i : correlate ? 0 : i; j < n; ++j, k = k + 1 < n ? k + 1 : 0)
          out(s, k, c) += a(s, i, c) * b(s, j, c);
  }
  return result;
}

TEST_CASE("circular_convolve and circular_correlate equal the double loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Case& c : kCases) {
        CAPTURE(c.shape);
        const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
        const double tolerance = dot_tolerance(dtype, c.shape[1]);
        CHECK_CLOSE(kernels::circular_convolve(a, b, c.mask()), reference(a, b, c.length, false), tolerance);
        CHECK_CLOSE(kernels::circular_correlate(a, b, c.mask()), reference(a, b, c.length, true), tolerance);
      }
    });
  });
}

TEST_CASE("circular_convolve and circular_correlate of long sequences equal the double loop") {
  for_each_float([](DType dtype) {
    for (const Case& c : kLong) {
      CAPTURE(c.shape);
      const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2);
      const double tolerance = dot_tolerance(dtype, c.shape[1]);
      CHECK_CLOSE(kernels::circular_convolve(a, b, c.mask()), reference(a, b, c.length, false), tolerance);
      CHECK_CLOSE(kernels::circular_correlate(a, b, c.mask()), reference(a, b, c.length, true), tolerance);
    }
  });
}

TEST_CASE("circular_correlate of a long sample does not know how much padding is behind it") {
  for_each_float([](DType dtype) {
    const Index n = dtype == kFloat32 ? 4099 : 2051;  // just too long for a block
    const Tensor a = normal({2, n + 11, 2}, dtype, 1), b = normal({2, n + 11, 2}, dtype, 2);
    const auto part = [n](const Tensor& t) { return t.slice(0, 1, 2).slice(1, 0, n).contiguous(); };
    CHECK(same_bits(part(kernels::circular_correlate(a, b, lengths({7, n}, n + 11))),
                    kernels::circular_correlate(part(a), part(b))));
  });
}

TEST_CASE("circular_convolve: commutes, and a unit impulse shifts") {
  for (const Index n : {1, 2, 12, 35, 61}) {
    const Tensor a = normal({2, n, 3}, kFloat64, 1), b = normal({2, n, 3}, kFloat64, 2);
    CHECK_CLOSE(kernels::circular_convolve(a, b), kernels::circular_convolve(b, a), dot_tolerance(kFloat64, n));
    Tensor impulse = zeros_like(a), shifted = empty_like(a);
    Tensor second = impulse.select(1, 1 % n);
    fill(second, 1);
    for (Index i = 0; i < n; ++i) {
      Tensor row = shifted.select(1, (i + 1) % n);
      copy(a.select(1, i), row);
    }
    CHECK_CLOSE(kernels::circular_convolve(impulse, a), shifted, dot_tolerance(kFloat64, 8));
  }
}

TEST_CASE("circular_correlate of a sample knows neither padding, nor other samples, nor other features") {
  for_each_float([](DType dtype) {
    for (const Index n : {0, 1, 2, 7, 24, 31, 64}) {
      CAPTURE(n);
      const Tensor a = normal({2, 70, 5}, dtype, 1), b = normal({2, 70, 5}, dtype, 2);
      Tensor other_a = full(a.shape(), 1e6, dtype, device()), other_b = full(a.shape(), -1e6, dtype, device());
      const auto part = [n](const Tensor& t) { return t.slice(0, 0, 1).slice(1, 0, n).slice(2, 3, 4); };
      Tensor real_a = part(other_a), real_b = part(other_b);
      copy(part(a), real_a);
      copy(part(b), real_b);
      for (const bool correlate : {false, true}) {
        const auto run = correlate ? kernels::circular_correlate : kernels::circular_convolve;
        const Tensor full_batch = run(a, b, lengths({n, 70}, 70), nullptr);
        CHECK(same_bits(part(full_batch), part(run(other_a, other_b, lengths({n, 13}, 70), nullptr))));
        CHECK(same_bits(part(full_batch), run(part(a).contiguous(), part(b).contiguous(), {}, nullptr)));
      }
    }
  });
}

TEST_CASE("circular_convolve_grad and circular_correlate_grad have the bits of each gradient alone") {
  for_each_float([](DType dtype) {
    for (const Index n : {1, 2, 7, 24, 128, 130, 1000}) {
      CAPTURE(n);
      const Shape shape = {2, n + 3, 19};
      const Tensor a = normal(shape, dtype, 1), b = normal(shape, dtype, 2), up = normal(shape, dtype, 3);
      const Mask mask = lengths({n, n + 3}, n + 3);
      const kernels::CircularGrads convolve = kernels::circular_convolve_grad(up, a, b, mask);
      CHECK(same_bits(convolve.da, kernels::circular_correlate(b, up, mask)));
      CHECK(same_bits(convolve.db, kernels::circular_correlate(a, up, mask)));
      const kernels::CircularGrads correlate = kernels::circular_correlate_grad(up, a, b, mask);
      CHECK(same_bits(correlate.da, kernels::circular_correlate(up, b, mask)));
      CHECK(same_bits(correlate.db, kernels::circular_convolve(up, a, mask)));
    }
  });
  const Tensor empty_sample = zeros({2, 3, 4}, kFloat32, device());
  CHECK(same_bits(kernels::circular_convolve_grad(empty_sample, empty_sample, empty_sample, lengths({0, 3}, 3)).da,
                  empty_sample));
}

TEST_CASE("circular_convolve gives the same bits for any thread count") {
  const Tensor a = normal({3, 120, 40}, kFloat32, 1), b = normal({3, 120, 40}, kFloat32, 2);
  CHECK(same_for_any_thread_count([&] {
    return std::vector<Tensor>{kernels::circular_convolve(a, b, lengths({120, 77, 64}, 120)),
                               kernels::circular_correlate(a, b)};
  }));
}

TEST_SUITE("cuda") {
  TEST_CASE("circular_convolve names a mask on another device") {
    const Tensor a = zeros({2, 4, 3}, kFloat32, device());
    CHECK_THROWS_WITH_AS(kernels::circular_convolve(a, a, lengths({4, 2}, 4).to(kCpu)),
                         doctest::Contains("circular_convolve: mask is [2] int64 cpu"), DeviceError);
  }

  TEST_CASE("circular_convolve on lengths that a sample cannot have counts the nearest") {
    const Tensor a = normal({3, 9, 2}, kFloat64, 1), b = normal({3, 9, 2}, kFloat64, 2);
    Mask mask = lengths({9, 9, 9}, 9);
    mask.lengths = here(tensor<Index>({-3, 5, 1'000'000}, {3}));
    CHECK(same_bits(kernels::circular_convolve(a, b, mask), kernels::circular_convolve(a, b, lengths({0, 5, 9}, 9))));
  }
}

TEST_SUITE("cpu") {
  TEST_CASE("circular_convolve_grad and circular_correlate_grad have the same bits from kept spectra") {
    const auto check = [](const Case& c, DType dtype) {
      CAPTURE(c.shape);
      const Tensor a = normal(c.shape, dtype, 1), b = normal(c.shape, dtype, 2), up = normal(c.shape, dtype, 3);
      kernels::CyclicSpectra spectra;
      const auto same = [&](const kernels::CircularGrads& one, const kernels::CircularGrads& other) {
        CHECK(same_bits(one.da, other.da));
        CHECK(same_bits(one.db, other.db));
      };
      CHECK(
          same_bits(kernels::circular_convolve(a, b, c.mask(), &spectra), kernels::circular_convolve(a, b, c.mask())));
      same(kernels::circular_convolve_grad(up, a, b, c.mask(), spectra),
           kernels::circular_convolve_grad(up, a, b, c.mask()));
      CHECK(same_bits(kernels::circular_correlate(a, b, c.mask(), &spectra),
                      kernels::circular_correlate(a, b, c.mask())));
      same(kernels::circular_correlate_grad(up, a, b, c.mask(), spectra),
           kernels::circular_correlate_grad(up, a, b, c.mask()));
    };
    for_each_simd_target([&] {
      for_each_float([&](DType dtype) {
        for (const Case& c : kCases) check(c, dtype);
      });
    });
    for (const Case& c : kLong) check(c, kFloat32);
    check({{3, 2160, 35}, {2160, 2159, 1024}}, kFloat32);                        // samples with and without
    for (const Index width : {63, 64}) check({{2, 8192, width}, {}}, kFloat32);  // past the caches or, of parts, not
  }

  TEST_CASE("circular_correlate has the bits of a sample alone where results are large enough to go past the caches") {
    for (const Index width : {48, 41}) {
      const Tensor a = normal({6, 8192, width}, kFloat32, 1), b = normal({6, 8192, width}, kFloat32, 2);
      const auto last = [](const Tensor& t) { return t.slice(0, t.dim(0) - 1, t.dim(0)).contiguous(); };
      CHECK(same_bits(last(kernels::circular_correlate(a, b)), kernels::circular_correlate(last(a), last(b))));
    }
  }

  TEST_CASE("circular_convolve keeps as many numbers as spectra.h says") {
    for (const Index n : {2, 4, 6, 10, 64, 130, 1000, 7, 14, 0}) {
      const Tensor a = zeros({2, n, 3}, kFloat32, kCpu);
      kernels::CyclicSpectra spectra;
      kernels::circular_convolve(a, a, {}, &spectra);
      CHECK(spectra.a.defined() == kernels::cpu::has_own_spectrum(n));
      if (!spectra.a.defined()) continue;
      CHECK(spectra.a.size() == 6 * kernels::cpu::kept_numbers(n));
      CHECK(kernels::cpu::kept_numbers(n) <= n + 5);
    }
  }

  // the door is the same on every device
  TEST_CASE("circular_convolve names what is wrong") {
    const Tensor a = zeros({2, 4, 3}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::circular_convolve(a, zeros({2, 4, 2}, kFloat32, kCpu)),
                         "circular_convolve: b is [2, 4, 2] float32 cpu, expected shape [2, 4, 3]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::circular_correlate(a, zeros({2, 4, 3}, kFloat64, kCpu)),
                         "circular_correlate: b is [2, 4, 3] float64 cpu, expected float32 like a", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::circular_convolve_grad(zeros({2, 4, 2}, kFloat32, kCpu), a, a),
                         "circular_convolve_grad: dout is [2, 4, 2] float32 cpu, expected shape [2, 4, 3]", ShapeError);
    kernels::CyclicSpectra spectra;
    kernels::circular_convolve(a, a, {}, &spectra);
    CHECK_THROWS_WITH_AS(kernels::circular_convolve_grad(a, a, a, lengths({4, 3}, 4), spectra),
                         "circular_convolve_grad: spectra.a is [54] float32 cpu, expected shape [27]", ShapeError);
    const Mask holes = Mask::from_bool(tensor<bool>({true, false, true, false, true, true, true, true}, {2, 4}));
    CHECK_THROWS_WITH_AS(kernels::circular_convolve(a, a, holes),
                         "circular_convolve: the mask has real positions behind padded ones, expected every sample's "
                         "real positions in front (compact moves them there)",
                         Error);
    Mask wrong = lengths({4, 4}, 4);
    wrong.lengths.data<Index>()[1] = 5;
    CHECK_THROWS_WITH_AS(kernels::circular_convolve(a, a, wrong),
                         "circular_convolve: the mask gives sample 1 length 5, expected 0 to 4", Error);
  }
}

}  // namespace
}  // namespace subquad::test
