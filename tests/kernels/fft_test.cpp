#include "subquad/kernels/fft/fft.h"

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using Complex = std::complex<double>;

DType complex_like(DType real) {
  return real == kFloat32 ? kComplex64 : kComplex128;
}

Tensor complex_normal(const Shape& shape, DType real, std::uint64_t seed) {
  return kernels::pairs_to_complex(normal(shape.inserted(shape.rank(), 2), real, seed));
}

Tensor parts(const Tensor& x) {
  return is_complex(x.dtype()) ? kernels::complex_to_pairs(x) : x;
}

// The numbers of a tensor [outer, n, inner] as complex doubles.
std::vector<Complex> numbers(const Tensor& x) {
  const Tensor wide = x.to(kComplex128).to(kCpu);
  return {wide.data<Complex>(), wide.data<Complex>() + wide.size()};
}

struct Seen {  // a shape around its axis
  Index outer = 1, n = 0, inner = 1;
  Seen(const Shape& shape, int axis) {
    for (int d = 0; d < shape.rank(); ++d) (d < axis ? outer : d == axis ? n : inner) *= d == axis ? 1 : shape[d];
    n = shape[axis];
  }
};

// out[o, k, i] = scale * sum_j x[o, j, i] e^(sign 2 pi i j k / n), for k < count, of `n` numbers of which x holds some:
// term(o, j, i) gives them.
template <class Term>
Tensor slow_transform(const Shape& shape, int axis, Index n, int sign, double scale, const Term& term) {
  const Seen seen(shape, axis);
  Tensor out = empty(shape, kComplex128, kCpu);
  std::vector<Complex> turns(static_cast<std::size_t>(n));
  for (Index t = 0; t < n; ++t)
    turns[t] = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(t) / static_cast<double>(n));
  for (Index o = 0; o < seen.outer; ++o)
    for (Index k = 0; k < seen.n; ++k)
      for (Index i = 0; i < seen.inner; ++i) {
        Complex sum = 0;
        for (Index j = 0; j < n; ++j) sum += term(o, j, i) * turns[j * k % n];
        out.data<Complex>()[(o * seen.n + k) * seen.inner + i] = scale * sum;
      }
  return out;
}

Tensor slow_fft(const Tensor& x, int axis, int sign, double scale) {
  const Seen seen(x.shape(), axis);
  const std::vector<Complex> in = numbers(x);
  return slow_transform(x.shape(), axis, seen.n, sign, scale,
                        [&](Index o, Index j, Index i) { return in[(o * seen.n + j) * seen.inner + i]; });
}

Tensor slow_rfft(const Tensor& x, int axis) {
  const Seen seen(x.shape(), axis);
  const Tensor in = doubles(x);
  return slow_transform(x.shape().with(axis, seen.n / 2 + 1), axis, seen.n, -1, 1, [&](Index o, Index j, Index i) {
    return Complex(in.data<double>()[(o * seen.n + j) * seen.inner + i]);
  });
}

Tensor real_part(const Tensor& x) {
  Tensor out = empty(x.shape(), kFloat64, kCpu);
  for (Index i = 0; i < x.size(); ++i) out.data<double>()[i] = x.data<Complex>()[i].real();
  return out;
}

Tensor slow_irfft(const Tensor& x, Index n, int axis) {
  const Seen seen(x.shape(), axis);
  const std::vector<Complex> in = numbers(x);
  return real_part(slow_transform(x.shape().with(axis, n), axis, n, +1, n == 0 ? 0 : 1 / static_cast<double>(n),
                                  [&](Index o, Index j, Index i) {
                                    const Index k = j <= n / 2 ? j : n - j;
                                    const Complex v = in[(o * seen.n + k) * seen.inner + i];
                                    return k == 0 || 2 * k == n ? Complex(v.real()) : j <= n / 2 ? v : std::conj(v);
                                  }));
}

// Every radix and their products, one pass and two, primes and their products, and nothing.
const std::vector<Index> kLengths = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,
                                     13,  15,  16,  17,  20,  24,  25,  27,  30,  31,  32,  36,  40,
                                     45,  64,  65,  77,  97,  100, 101, 120, 125, 128, 134, 135, 160,
                                     194, 225, 243, 256, 270, 331, 360, 486, 500, 512, 600};

std::vector<std::pair<Shape, int>> cases() {  // shape, axis
  std::vector<std::pair<Shape, int>> out = {
      {{2, 3, 16}, 0},
      {{2, 24, 3, 2}, 1},
      {{5, 12}, 0},
      {{5, 12}, 1},
      {{3, 6, 40}, 1},
      {{2, 10, 64}, 1},
      {{0, 8}, 1},
      {{8, 0}, 0},
      {{1024, 2}, 0},
      {{21, 8}, 1},
      {{4, 7, 19}, 1},
      // lines enough that a block of a CUDA device takes several, the last one fewer
      {{2, 20, 601}, 1},
      {{2, 11, 601}, 1},
      {{1203, 10}, 1},
      {{1203, 7}, 1}};
  for (const Index n : kLengths) {
    out.push_back({{2, n, n > 200 ? 3 : 17}, 1});
    out.push_back({{n > 200 ? 3 : 19, n}, 1});  // rows: a vector of them and some more, where lanes are 16
  }
  return out;
}

double tolerance(DType dtype, Index n) {
  return dot_tolerance(dtype, n);
}

TEST_CASE("fft and ifft equal the double loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const auto& [shape, axis] : cases()) {
        CAPTURE(shape);
        const Tensor x = complex_normal(shape, dtype, 1);
        const Index n = shape[axis];
        const double scale = n == 0 ? 0 : 1 / static_cast<double>(n);
        CHECK_CLOSE(parts(kernels::fft(x, axis)), parts(slow_fft(x, axis, -1, 1)), tolerance(dtype, n));
        CHECK_CLOSE(parts(kernels::ifft(x, axis - shape.rank())), parts(slow_fft(x, axis, +1, scale)),
                    tolerance(dtype, n));
        CHECK_CLOSE(parts(kernels::fft_grad(x, axis)), parts(slow_fft(x, axis, +1, 1)), tolerance(dtype, n));
        CHECK_CLOSE(parts(kernels::ifft_grad(x, axis)), parts(slow_fft(x, axis, -1, scale)), tolerance(dtype, n));
      }
    });
  });
}

TEST_CASE("rfft and irfft equal the double loop") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const auto& [shape, axis] : cases()) {
        CAPTURE(shape);
        const Index n = shape[axis];
        const Tensor x = normal(shape, dtype, 1), spectrum = kernels::rfft(x, axis);
        REQUIRE(spectrum.dtype() == complex_like(dtype));
        CHECK_CLOSE(parts(spectrum), parts(slow_rfft(x, axis)), tolerance(dtype, n));
        const Tensor any = complex_normal(spectrum.shape(), dtype, 2);  // not a real signal's: k = 0 is not real
        CHECK_CLOSE(kernels::irfft(any, n, axis), slow_irfft(any, n, axis), tolerance(dtype, n));
      }
    });
  });
}

// Is each gradient the transpose of its map?
void check_transposes(const Shape& shape, int axis, DType dtype) {
  const Index n = shape[axis];
  const auto inner_product = [](const Tensor& a, const Tensor& b) {
    const Tensor x = doubles(parts(a)), y = doubles(parts(b));
    double sum = 0;
    for (Index i = 0; i < x.size(); ++i) sum += x.data<double>()[i] * y.data<double>()[i];
    return sum;
  };
  const Tensor x = normal(shape, dtype, 1), y = kernels::rfft(x, axis);
  const Tensor u = complex_normal(y.shape(), dtype, 2), v = normal(shape, dtype, 3);
  const double size = static_cast<double>(x.size() + 1), bound = 4 * tolerance(dtype, n) * size;
  CHECK(std::fabs(inner_product(y, u) - inner_product(x, kernels::rfft_grad(u, n, axis))) <= bound);
  CHECK(std::fabs(inner_product(kernels::irfft(u, n, axis), v) - inner_product(u, kernels::irfft_grad(v, axis))) <=
        bound);
}

TEST_CASE("rfft_grad and irfft_grad are the transposed maps") {
  for_each_float([](DType dtype) {
    for (const auto& [shape, axis] : cases()) {
      CAPTURE(shape);
      check_transposes(shape, axis, dtype);
    }
  });
}

// 7 * 11 * 17 and 7 * 13 * 29, and their doubles: too long for a block of a CUDA device, which holds up to 1280 in
// float64, 2560 in float32 of such lengths.
TEST_CASE("fft and rfft of long signals equal the double loop") {
  for (const Shape& shape : {Shape{2, 1309, 2}, Shape{2, 1309}, Shape{1, 2618, 2}, Shape{2, 2618}}) {
    CAPTURE(shape);
    const Index n = shape[1];
    const double bound = tolerance(kFloat64, n);
    const Tensor x = normal(shape, kFloat64, 1), half = complex_normal(shape.with(1, n / 2 + 1), kFloat64, 2);
    CHECK_CLOSE(parts(kernels::rfft(x, 1)), parts(slow_rfft(x, 1)), bound);
    CHECK_CLOSE(kernels::irfft(half, n, 1), slow_irfft(half, n, 1), bound);
    check_transposes(shape, 1, kFloat64);
    if (n % 2 == 0) continue;
    const Tensor z = complex_normal(shape, kFloat64, 3);
    CHECK_CLOSE(parts(kernels::fft(z, 1)), parts(slow_fft(z, 1, -1, 1)), bound);
    CHECK_CLOSE(parts(kernels::ifft(z, 1)), parts(slow_fft(z, 1, +1, 1 / static_cast<double>(n))), bound);
  }
  for (const Shape& shape : {Shape{2, 2639, 2}, Shape{2, 2639}, Shape{2, 5278, 2}, Shape{2, 5278}}) {
    CAPTURE(shape);
    const Index n = shape[1];
    const double bound = tolerance(kFloat32, n);
    const Tensor x = normal(shape, kFloat32, 1), half = complex_normal(shape.with(1, n / 2 + 1), kFloat32, 2);
    CHECK_CLOSE(parts(kernels::rfft(x, 1)), parts(kernels::rfft(x.to(kFloat64), 1)), bound);
    CHECK_CLOSE(kernels::irfft(half, n, 1), kernels::irfft(half.to(kComplex128), n, 1), bound);
    check_transposes(shape, 1, kFloat32);
    const Tensor z = complex_normal(shape, kFloat32, 3);
    CHECK_CLOSE(parts(kernels::ifft(z, 1)), parts(kernels::ifft(z.to(kComplex128), 1)), bound);
  }
  const Tensor x = normal({5279}, kFloat32, 4);  // a view that starts in the middle of a pair
  CHECK(same_bits(kernels::rfft(x.slice(0, 1, 5279), 0), kernels::rfft(x.slice(0, 1, 5279).clone(), 0)));
}

TEST_CASE("fft and its inverse: there and back, and Parseval") {
  for (const Index n : {1, 7, 64, 1000, 1021, 4096, 6000, 8192, 30030}) {
    CAPTURE(n);
    for_each_float([&](DType dtype) {
      const Tensor x = normal({1, n, 3}, dtype, 5), z = complex_normal({1, n, 3}, dtype, 6);
      const double bound = dot_tolerance(dtype, 16);  // of numbers of order 1: grows like log n
      CHECK_CLOSE(kernels::irfft(kernels::rfft(x, 1), n, 1), x, bound);
      CHECK_CLOSE(parts(kernels::ifft(kernels::fft(z, 1), 1)), parts(z), bound);
      const auto energy = [](const Tensor& t) {
        long double sum = 0;  // of more terms than a double could add up to such a bound
        for (const Complex& v : numbers(t)) sum += std::norm(v);
        return static_cast<double>(sum);
      };
      const double in_time = energy(z), in_frequency = energy(kernels::fft(z, 1)) / static_cast<double>(n);
      CHECK(std::fabs(in_frequency / in_time - 1) < bound);
    });
  }
}

TEST_CASE("fft of a signal knows no other signal, and no lane") {
  for_each_float([](DType dtype) {
    for (const Index n : {6, 15, 22, 96, 130}) {
      CAPTURE(n);
      const Tensor x = normal({3, n, 21}, dtype, 1), z = complex_normal({3, n, 21}, dtype, 2);
      const Tensor spectrum = kernels::rfft(x, 1), transformed = kernels::fft(z, 1);
      Tensor other = full({3, n, 21}, std::numeric_limits<double>::infinity(), dtype, device());
      Tensor column = other.slice(2, 17, 18).slice(0, 1, 2);
      copy(x.slice(2, 17, 18).slice(0, 1, 2), column);
      CHECK(
          same_bits(kernels::rfft(other, 1).slice(2, 17, 18).slice(0, 1, 2), spectrum.slice(2, 17, 18).slice(0, 1, 2)));
      CHECK(same_bits(kernels::fft(z.select(2, 17).select(0, 1).contiguous(), 0),
                      transformed.select(2, 17).select(0, 1)));
    }
  });
}

TEST_CASE("fft of a row has the same bits alone, in any batch and along any axis") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const Index n : {1, 2, 15, 22, 64, 100, 256, 270, 331, 486, 1000, 1024, 1536, 2310, 4096}) {
        if (interpreted() && n > 2310) continue;

        CAPTURE(n);
        const Tensor x = normal({21, n}, dtype, 1), z = complex_normal({21, n}, dtype, 2);
        const Tensor half = complex_normal({21, n / 2 + 1}, dtype, 3);
        // cuFFT, which takes what no block of threads can hold, promises no such thing; its stand-in keeps it.
        if (!device().is_cpu() && !interpreted() && n == 2310 && dtype == kFloat64) continue;
        const auto check = [](const Tensor& in, const auto& transform) {
          const Tensor all = transform(in, 1), across = transform(in.transpose(0, 1).contiguous(), 0);
          CHECK(same_bits(across.transpose(0, 1).contiguous(), all));
          for (const Index row : {0, 7, 16, 20})
            CHECK(same_bits(transform(in.slice(0, row, row + 1), 1), all.slice(0, row, row + 1)));
        };
        check(x, [](const Tensor& in, int axis) { return kernels::rfft(in, axis); });
        check(x, [](const Tensor& in, int axis) { return kernels::irfft_grad(in, axis); });
        check(z, [](const Tensor& in, int axis) { return kernels::fft(in, axis); });
        check(z, [](const Tensor& in, int axis) { return kernels::ifft(in, axis); });
        check(half, [n](const Tensor& in, int axis) { return kernels::irfft(in, n, axis); });
        check(half, [n](const Tensor& in, int axis) { return kernels::rfft_grad(in, n, axis); });
      }
    });
  });
}

TEST_CASE("fft is accurate: the error of float32 grows slowly") {
  for (const Index n : {1 << 10, 1 << 14, 3 * 5 * 7 * 11, 1 << 17}) {
    CAPTURE(n);
    const Tensor x = complex_normal({n, 2}, kFloat32, 3);
    const Tensor want = kernels::fft(x.to(kComplex128), 0), got = kernels::fft(x, 0);
    CHECK(largest_error(parts(got), parts(want)) < 8 * 0x1p-24);
  }
}

TEST_CASE("fft gives the same bits for any thread count") {
  const Tensor x = normal({5, 720, 37}, kFloat32, 2), z = complex_normal({40, 77}, kFloat64, 3);
  CHECK(same_for_any_thread_count([&] {
    return std::vector<Tensor>{kernels::rfft(x, 1), kernels::fft(z, 1), kernels::fft(z, 0)};
  }));
}

TEST_SUITE("cpu") {
  TEST_CASE("fft and its kin have the bits of a sample alone where results are large enough to go past the caches") {
    for (const Index width : {48, 41}) {  // lanes that fill lines, and parts of them
      const Tensor z = complex_normal({3, 8192, width}, kFloat32, 1), x = normal({6, 8192, width}, kFloat32, 2);
      const auto last = [](const Tensor& t) { return t.slice(0, t.dim(0) - 1, t.dim(0)).contiguous(); };
      CHECK(same_bits(parts(last(kernels::fft(z, 1))), parts(kernels::fft(last(z), 1))));
      CHECK(same_bits(parts(last(kernels::ifft(z, 1))), parts(kernels::ifft(last(z), 1))));
      const Tensor spectra = kernels::rfft(x, 1);
      CHECK(same_bits(parts(last(spectra)), parts(kernels::rfft(last(x), 1))));
      CHECK(same_bits(last(kernels::irfft(spectra, 8192, 1)), kernels::irfft(last(spectra), 8192, 1)));
    }
  }

  // the door is the same on every device
  TEST_CASE("complex_to_pairs and pairs_to_complex are views") {
    const Tensor pairs = normal({3, 4, 2}, kFloat32, 1), z = kernels::pairs_to_complex(pairs);
    CHECK(z.shares_storage_with(pairs));
    CHECK_EQ(z.shape(), Shape{3, 4});
    CHECK_EQ(at(kernels::complex_to_pairs(z.select(0, 2)), {1, 1}), at(pairs, {2, 1, 1}));
    const Tensor odd = pairs.reshape({24}).slice(0, 1, 7).reshape({3, 2});  // no complex number begins there
    CHECK_EQ(at(kernels::complex_to_pairs(kernels::pairs_to_complex(odd)), {2, 1}), at(odd, {2, 1}));
  }

  TEST_CASE("fft names what is wrong") {
    const Tensor x = zeros({2, 5}, kFloat32, kCpu), z = zeros({2, 5}, kComplex64, kCpu);
    CHECK_THROWS_WITH_AS(kernels::fft(x, 0), "fft: x is [2, 5] float32 cpu, expected complex64 or complex128",
                         DTypeError);
    CHECK_THROWS_WITH_AS(kernels::rfft(z, 0), "rfft: x is [2, 5] complex64 cpu, expected float32 or float64",
                         DTypeError);
    CHECK_THROWS_WITH_AS(kernels::rfft(x, 2), "rfft: axis is 2, expected -2 to 1 for x [2, 5]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::ifft(z, -3), "ifft: axis is -3, expected -2 to 1 for x [2, 5]", ShapeError);
    CHECK_THROWS_WITH_AS(kernels::irfft(z, 10, 1), "irfft: n is 10, expected 8 or 9 for axis 1 of x [2, 5]",
                         ShapeError);
    CHECK_THROWS_WITH_AS(kernels::pairs_to_complex(x),
                         "pairs_to_complex: x is [2, 5] float32 cpu, expected a last extent of 2: (re, im)",
                         ShapeError);
    CHECK_THROWS_AS(kernels::rfft(x.transpose(0, 1), 0), ShapeError);
  }
}

}  // namespace
}  // namespace subquad::test
