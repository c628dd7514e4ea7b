#include "subquad/kernels/matmul/matmul_or.h"

#include <doctest/doctest.h>

#include <limits>

#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

Tensor every_other(Index batch) {
  Tensor none = zeros({batch}, kBool, kCpu);
  for (Index b = 1; b < batch; b += 2) none.data<bool>()[b] = true;
  return here(none);
}

struct Slow {
  Tensor out, da, dy, dx;
};
Slow slow(const Tensor& a, const Tensor& y, const Tensor& x, const Tensor& dout) {
  const Tensor in_a = doubles(a), in_y = doubles(y), in_x = doubles(x), in_dout = doubles(dout);
  Slow r{zeros(y.shape(), kFloat64, kCpu), zeros(a.shape(), kFloat64, kCpu), zeros(y.shape(), kFloat64, kCpu),
         zeros(y.shape(), kFloat64, kCpu)};
  const auto A = in_a.view<const double, 4>(), Y = in_y.view<const double, 4>(), X = in_x.view<const double, 4>(),
             dO = in_dout.view<const double, 4>();
  auto O = r.out.view<double, 4>(), dA = r.da.view<double, 4>(), dY = r.dy.view<double, 4>(),
       dX = r.dx.view<double, 4>();
  for (Index b = 0; b < a.dim(0); ++b)
    for (Index h = 0; h < a.dim(1); ++h)
      for (Index i = 0; i < a.dim(2); ++i)
        for (Index c = 0; c < y.dim(3); ++c) {
          if (b % 2 == 1) {
            O(b, h, i, c) = X(b, h, i, c);
            dX(b, h, i, c) = dO(b, h, i, c);
            continue;
          }
          for (Index j = 0; j < a.dim(2); ++j) {
            O(b, h, i, c) += A(b, h, i, j) * Y(b, h, j, c);
            dA(b, h, i, j) += dO(b, h, i, c) * Y(b, h, j, c);
            dY(b, h, j, c) += A(b, h, i, j) * dO(b, h, i, c);
          }
        }
  return r;
}

TEST_CASE("matmul_or and its gradients equal the loop") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{3, 2, 5, 4}, Shape{2, 1, 1, 1}, Shape{2, 2, 64, 33}, Shape{2, 1, 70, 7},
                               Shape{2, 1, 128, 65}, Shape{2, 1, 130, 3}, Shape{0, 2, 4, 3}, Shape{2, 1, 0, 3}}) {
      CAPTURE(shape);
      const Tensor a = normal(shape.with(3, shape[2]), dtype, 1), x = normal(shape, dtype, 3);
      const Tensor y = normal({shape[0], shape[2], shape[1], shape[3]}, dtype, 2).transpose(1, 2);
      const Tensor dout = normal(shape, dtype, 4), none = every_other(shape[0]);
      const Slow want = slow(a, y, x, dout);
      const double tolerance = dot_tolerance(dtype, std::max(shape[2], shape[3]));
      CHECK_CLOSE(kernels::matmul_or(a, y, x, none), want.out, tolerance);
      const auto got = kernels::matmul_or_grad(dout, a, y, none);
      CHECK_CLOSE(got.da, want.da, tolerance);
      CHECK_CLOSE(got.dy, want.dy, tolerance);
      CHECK_CLOSE(got.dx, want.dx, 0);
    }
  });
}

TEST_CASE("matmul_or does not see what it leaves out, and takes the rest as matmul does") {
  const Shape shape = {2, 2, 9, 6};
  const Tensor none = every_other(2), nan = full({1}, std::numeric_limits<double>::quiet_NaN(), kFloat32, device());
  const Tensor samples = none.reshape({2, 1, 1, 1}), a = normal({2, 2, 9, 9}, kFloat32, 1);
  const Tensor y = normal(shape, kFloat32, 2), x = normal(shape, kFloat32, 3);
  const Tensor out = kernels::matmul_or(kernels::where(samples, nan, a), kernels::where(samples, nan, y),
                                        kernels::where(samples, x, nan), none);
  CHECK(same_bits(out, kernels::where(samples, x, kernels::matmul(a, y))));
}

TEST_CASE("matmul_or gives the same bits every time") {
  const Tensor none = every_other(3);
  for (const Shape& shape : {Shape{3, 2, 33, 20}, Shape{3, 1, 130, 5}}) {
    CAPTURE(shape);
    const Tensor a = normal(shape.with(3, shape[2]), kFloat32, 1), y = normal(shape, kFloat32, 2);
    const Tensor x = normal(shape, kFloat32, 3), dout = normal(shape, kFloat32, 4);
    CHECK(same_bits(kernels::matmul_or(a, y, x, none), kernels::matmul_or(a, y, x, none)));
    const auto first = kernels::matmul_or_grad(dout, a, y, none), second = kernels::matmul_or_grad(dout, a, y, none);
    CHECK(same_bits(second.da, first.da));
    CHECK(same_bits(second.dy, first.dy));
    CHECK(same_bits(second.dx, first.dx));
  }
}

TEST_CASE("matmul_or names what does not fit") {
  const auto zero = [](const Shape& shape) { return zeros(shape, kFloat32, device()); };
  const Tensor none = every_other(2);
  CHECK_THROWS_WITH_AS(kernels::matmul_or(zero({2, 1, 3, 4}), zero({2, 1, 4, 2}), zero({2, 1, 3, 2}), none),
                       doctest::Contains("matmul_or: a is [2, 1, 3, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::matmul_or(zero({2, 1, 3, 3}), zero({2, 1, 3, 2}), zero({2, 1, 2, 2}), none),
                       doctest::Contains("matmul_or: x is [2, 1, 2, 2]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::matmul_or(zero({2, 1, 3, 3}), zero({2, 1, 3, 2}), zero({2, 1, 3, 2}), every_other(3)),
                       doctest::Contains("matmul_or: none is [3]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
