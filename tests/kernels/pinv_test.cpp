#include "subquad/kernels/pinv/pinv.h"

#include <doctest/doctest.h>

#include <cmath>

#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/softmax/softmax.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::matmul;
using kernels::pinv;
using kernels::PinvOptions;
using kernels::PinvStart;

constexpr PinvStart kStarts[] = {PinvStart::exact, PinvStart::original, PinvStart::product};

Tensor softmax_matrices(const Shape& shape, DType dtype, std::uint64_t seed) {
  return kernels::softmax(normal(shape, dtype, seed));
}

// Largest column sum and row sum of |A| of each matrix [batch, M, M], then c of each.
std::vector<double> coefficients(const Tensor& matrices, PinvStart start) {
  const Tensor a = doubles(matrices);
  const Index count = a.dim(0), size = a.dim(1);
  std::vector<double> columns, c;
  double top_column = 0, top_row = 0;
  for (Index b = 0; b < count; ++b) {
    double column_norm = 0;
    for (Index i = 0; i < size; ++i) {
      double column = 0, row = 0;
      for (Index j = 0; j < size; ++j) {
        column += std::fabs(at(a, {b, j, i}));
        row += std::fabs(at(a, {b, i, j}));
      }
      column_norm = std::max(column_norm, column);
      top_row = std::max(top_row, row);
    }
    columns.push_back(column_norm);
    top_column = std::max(top_column, column_norm);
  }
  for (const double column : columns)
    c.push_back(1 / (start == PinvStart::exact      ? column
                     : start == PinvStart::original ? top_column
                                                    : top_column * top_row));
  return c;
}

// left right, or factor I - left right, by the definition.
Tensor slow_product(const Tensor& left, const Tensor& right) {
  Tensor out = zeros(left.shape(), kFloat64, kCpu);
  auto to = out.view<double, 2>();
  const auto l = left.view<const double, 2>(), r = right.view<const double, 2>();
  for (Index i = 0; i < left.dim(0); ++i)
    for (Index j = 0; j < left.dim(0); ++j)
      for (Index k = 0; k < left.dim(0); ++k) to(i, j) += l(i, k) * r(k, j);
  return out;
}
Tensor identity_minus(double factor, const Tensor& x) {
  Tensor out = doubles(x).clone();
  for (Index i = 0; i < x.dim(0); ++i)
    for (Index j = 0; j < x.dim(0); ++j)
      out.view<double, 2>()(i, j) = (i == j ? factor : 0) - out.view<double, 2>()(i, j);
  return out;
}

Tensor slow_pinv(const Tensor& matrices, const PinvOptions& options) {  // [batch, M, M]
  const Tensor a = doubles(matrices);
  Tensor out = empty_like(a);
  const std::vector<double> c = coefficients(a, options.start);
  for (Index b = 0; b < a.dim(0); ++b) {
    const Tensor matrix = a.select(0, b);
    Tensor z = matrix.transpose(0, 1).contiguous().clone();
    for (double& value : z.span<double>()) value *= c[static_cast<std::size_t>(b)];
    for (int t = 0; t < options.iterations; ++t) {
      const Tensor x = slow_product(matrix, z);
      const Tensor inner = identity_minus(15, slow_product(x, identity_minus(7, x)));
      z = slow_product(z, identity_minus(13, slow_product(x, inner)));
      for (double& value : z.span<double>()) value /= 4;
    }
    Tensor to = out.select(0, b);
    copy(z, to);
  }
  return out;
}

// An orthogonal matrix: the product of reflections I - 2 w w^T / |w|^2.
Tensor orthogonal(Index size, std::uint64_t seed) {
  Tensor q = identity_minus(1, zeros({size, size}, kFloat64, kCpu));
  for (std::uint64_t k = 0; k < 3; ++k) {
    const Tensor w = doubles(normal({size}, kFloat64, seed + k));
    double square = 0;
    for (const double value : w.span<double>()) square += value * value;
    Tensor twice = empty({size, size}, kFloat64, kCpu);
    for (Index i = 0; i < size; ++i)
      for (Index j = 0; j < size; ++j) twice.view<double, 2>()(i, j) = 2 * at(w, i) * at(w, j) / square;
    q = slow_product(q, identity_minus(1, twice));
  }
  return q;
}

// U diag(s) V^T
Tensor from_singular_values(const Tensor& u, const std::vector<double>& s, const Tensor& v) {
  Tensor scaled = u.clone();
  for (Index i = 0; i < u.dim(0); ++i)
    for (Index j = 0; j < u.dim(0); ++j) scaled.view<double, 2>()(i, j) *= s[static_cast<std::size_t>(j)];
  return slow_product(scaled, v.transpose(0, 1).contiguous());
}

// How many steps tests of matrices of that size take; on CUDA the sizes 32, 64 and 128 are bounds between kernels.
std::vector<int> iterations_for(Index size) {
  if (!interpreted() || size <= 20) return {1, 2, 6};
  return {size <= 33 ? 2 : 1};
}

TEST_CASE("pinv equals the loop") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{2, 6, 6}, Shape{1, 1, 1}, Shape{3, 17, 17}, Shape{2, 33, 33}, Shape{2, 64, 64},
                               Shape{2, 70, 70}, Shape{2, 129, 129}, Shape{0, 4, 4}})
      for (const PinvStart start : kStarts)
        for (const int iterations : iterations_for(shape[1])) {
          if (shape[1] > 100 && iterations > 1) continue;  // time
          CAPTURE(shape);
          CAPTURE(iterations);
          const PinvOptions options{.iterations = iterations, .start = start};
          const Tensor a = softmax_matrices(shape, dtype, 3);
          CHECK_CLOSE(pinv(a, options).out, slow_pinv(a, options), 4 * dot_tolerance(dtype, 8 * shape[1]));
        }
  });
}

// As on the CPU in float64, which gradcheck has checked.
TEST_CASE("pinv_grad of every size class" * doctest::test_suite("less shared memory")) {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{3, 17, 17}, Shape{2, 32, 32}, Shape{2, 64, 64}, Shape{2, 65, 65}})
      for (const PinvStart start : kStarts)
        for (const bool detach : {false, true}) {
          if (shape[1] > 32 && (detach || dtype == kFloat64)) continue;  // time
          CAPTURE(shape);
          const PinvOptions options{
              .iterations = iterations_for(shape[1]).back(), .start = start, .detach_coefficient = detach};
          const bool any = start == PinvStart::product;  // rows of a softmax have no largest sum
          const Tensor a = any ? normal(shape, dtype, 3) : softmax_matrices(shape, dtype, 3);
          const Tensor dout = normal(shape, dtype, 4), exact = doubles(a);
          const Tensor got = kernels::pinv_grad(dout, a, pinv(a, options), options);
          const Tensor want = kernels::pinv_grad(doubles(dout), exact, pinv(exact, options), options);
          CHECK_CLOSE(got, want, 8 * dot_tolerance(dtype, 16 * shape[1]));
        }
  });
}

TEST_CASE("pinv keeps what backward needs, and takes any batch dimensions") {
  const Tensor a = softmax_matrices({2, 3, 5, 5}, kFloat64, 4);
  const kernels::PinvOutput f = pinv(a, {.iterations = 3});
  CHECK(f.steps.shape() == Shape{3, 2, 3, 5, 5});
  CHECK(same_bits(f.steps.select(0, 2), pinv(a, {.iterations = 2}).out));
  const kernels::PinvOutput forward_alone = pinv(a, {.iterations = 3}, /*for_backward=*/false);
  CHECK(same_bits(forward_alone.out, f.out));
  CHECK(same_bits(forward_alone.steps, f.steps));
  CHECK_FALSE(forward_alone.factors.defined());
  const auto one = [](const Tensor& t) { return t.select(0, 1).select(0, 2); };
  const Tensor alone = pinv(one(a), {.iterations = 3}).out;  // a batch of another size: cuBLAS may sum in another order
  if (device().is_cpu())
    CHECK(same_bits(one(f.out), alone));
  else
    CHECK_CLOSE(one(f.out), doubles(alone), 4 * dot_tolerance(kFloat64, 8 * 5));
  const Tensor small = softmax_matrices({2, 3, 5, 5}, kFloat32, 4);  // a block has a matrix, whatever the others are
  CHECK(same_bits(one(pinv(small, {.iterations = 3}).out), pinv(one(small), {.iterations = 3}).out));
  CHECK(pinv(zeros({3, 0, 0}, kFloat32, device())).out.shape() == Shape{3, 0, 0});
}

// All Z_t share A's singular vectors, and each singular value goes its own way.
TEST_CASE("pinv filters singular values") {
  const Index size = 12;
  const Tensor u = orthogonal(size, 1), v = orthogonal(size, 7);
  std::vector<double> s;
  for (Index i = 0; i < size; ++i) s.push_back(i == size - 1 ? 0 : std::pow(0.4, static_cast<double>(i)));
  const Tensor a = from_singular_values(u, s, v);
  for (const int iterations : {1, 6, 12}) {
    const double c = coefficients(a.unsqueeze(0), PinvStart::product).front();
    std::vector<double> filtered;
    for (const double sigma : s) {
      double x = c * sigma * sigma;
      for (int t = 0; t < iterations; ++t) x *= (13 - 15 * x + 7 * x * x - x * x * x) / 4;
      filtered.push_back(sigma == 0 ? 0 : x / sigma);
    }
    CHECK_CLOSE(pinv(here(a), {.iterations = iterations, .start = PinvStart::product}).out,
                from_singular_values(v, filtered, u), 1e-11);
  }
}

TEST_CASE("pinv has the four properties of Penrose") {
  // Well-conditioned on its range; outside, each step makes the rounding errors 3.25 times as large.
  const Index size = 24, rank = 17;
  std::vector<double> s(static_cast<std::size_t>(size), 0);
  for (Index i = 0; i < rank; ++i) s[static_cast<std::size_t>(i)] = 1 + 0.1 * static_cast<double>(i);
  for (const bool singular : {false, true}) {
    if (!singular) std::fill(s.begin() + rank, s.end(), 0.7);
    if (singular) std::fill(s.begin() + rank, s.end(), 0.0);
    const Tensor a = here(from_singular_values(orthogonal(size, 1), s, orthogonal(size, 9)));
    const Tensor z = pinv(a, {.iterations = singular ? 12 : 20, .start = PinvStart::product}).out;
    const Tensor az = matmul(a, z), za = matmul(z, a);
    CHECK_CLOSE(matmul(az, a), a, 1e-8);
    CHECK_CLOSE(matmul(za, z), z, 1e-8);
    CHECK_CLOSE(az, az.transpose(0, 1), 1e-8);
    CHECK_CLOSE(za, za.transpose(0, 1), 1e-8);
  }
}

TEST_CASE("pinv of a matrix does not depend on its neighbours when the start is exact") {
  const Tensor a = softmax_matrices({3, 8, 8}, kFloat32, 5);
  Tensor other = a.clone(), neighbour = other.select(0, 2);
  copy(softmax_matrices({8, 8}, kFloat32, 6), neighbour);
  CHECK(same_bits(pinv(a).out.select(0, 0), pinv(other).out.select(0, 0)));
  CHECK(same_bits(pinv(a).out.select(0, 1), pinv(a.slice(0, 1, 2)).out.select(0, 0)));
}

TEST_CASE("pinv of special matrices") {
  for_each_float([](DType dtype) {
    for (const PinvStart start : kStarts) {
      const PinvOptions options{.start = start};
      const Tensor nothing = zeros({2, 3, 3}, dtype, device());
      CHECK(same_bits(pinv(nothing, options).out, nothing));
      const kernels::PinvOutput f = pinv(nothing, options);
      CHECK(same_bits(kernels::pinv_grad(nothing, nothing, f, options), nothing));
      const Tensor one = full({1, 1, 1}, 1, dtype, device());
      CHECK(same_bits(pinv(one, options).out, one));  // Z_0 = 1 is a fixed point
      const Tensor even = full({1, 4, 4}, 0.25, dtype, device());
      CHECK_CLOSE(pinv(even, options).out, even, 1e-6);
    }
  });
}

TEST_CASE("pinv gives the same bits for any number of threads") {
  const Shape shape = interpreted() ? Shape{2, 64, 64} : Shape{4, 3, 64, 64};
  const Tensor a = softmax_matrices(shape, kFloat32, 5), dout = normal(a.shape(), kFloat32, 6);
  for (const PinvStart start : kStarts)
    CHECK(same_for_any_thread_count([&] {
      const PinvOptions options{.iterations = iterations_for(a.dim(-1)).back(), .start = start};
      const kernels::PinvOutput f = pinv(a, options);
      return std::vector<Tensor>{f.out, kernels::pinv_grad(dout, a, f, options)};
    }));
}

TEST_CASE("pinv names what does not fit") {
  const Tensor a = zeros({2, 3, 3}, kFloat32, device());
  CHECK_THROWS_WITH_AS(pinv(zeros({2, 3}, kFloat32, device())),
                       cat("pinv: a is [2, 3] float32 ", device(), ", expected square matrices [..., M, M]").c_str(),
                       ShapeError);
  CHECK_THROWS_WITH_AS(pinv(a, {.iterations = 0}), "pinv: iterations is 0, expected at least 1", Error);
  CHECK_THROWS_AS(pinv(a.to(kInt64)), DTypeError);
  CHECK_THROWS_WITH_AS(kernels::pinv_grad(a, a, {a, zeros({5, 2, 3, 3}, kFloat32, device()), {}}),
                       doctest::Contains("pinv_grad: steps is [5, 2, 3, 3]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
