#include "subquad/kernels/landmark_softmax/landmark_softmax.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "subquad/tests/kernels/landmark_flags.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::LandmarkSoftmaxOptions;
using kernels::LeftOutRows;

struct Slow {
  Tensor y, dx;
};
Slow slow(const Tensor& x, const Tensor& dout, const Tensor& counts, const Tensor& none,
          const LandmarkSoftmaxOptions& options) {
  const Tensor in = doubles(x), up = doubles(dout), of = counts.defined() ? counts.to(kCpu) : counts,
               samples = none.defined() ? none.to(kCpu) : none;
  Slow r = {zeros(x.shape(), kFloat64, kCpu), zeros(x.shape(), kFloat64, kCpu)};
  const Index size = x.dim(3);
  const auto X = in.view<const double, 4>(), dY = up.view<const double, 4>();
  auto Y = r.y.view<double, 4>(), dX = r.dx.view<double, 4>();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index h = 0; h < x.dim(1); ++h)
      for (Index i = 0; i < size; ++i) {
        const auto counted = [&](Index j) {
          return (!samples.defined() || at(samples, {b}) == 0) && (!of.defined() || at(of, {b, j}) != 0);
        };
        if (!counted(i)) {
          for (Index j = 0; j < size; ++j)
            Y(b, h, i, j) = options.left_out == LeftOutRows::uniform ? 1 / static_cast<double>(size) : i == j ? 1 : 0;
          continue;
        }
        double sum = 0, dot = 0;
        for (Index j = 0; j < size; ++j)
          if (counted(j)) sum += std::exp(options.scale * X(b, h, i, j));
        for (Index j = 0; j < size; ++j) {
          if (counted(j)) Y(b, h, i, j) = std::exp(options.scale * X(b, h, i, j)) / sum;
          dot += dY(b, h, i, j) * Y(b, h, i, j);
        }
        for (Index j = 0; j < size; ++j)
          if (counted(j)) dX(b, h, i, j) = options.scale * Y(b, h, i, j) * (dY(b, h, i, j) - dot);
      }
  return r;
}

TEST_CASE("landmark_softmax and its gradient equal the loop") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{2, 2, 5, 5}, Shape{1, 3, 1, 1}, Shape{3, 1, 33, 33}, Shape{1, 2, 70, 70},
                               Shape{0, 2, 4, 4}, Shape{2, 1, 0, 0}})
      for (const Tensor& counts : {Tensor(), flags({shape[0], shape[2]}, 3)})
        for (const Tensor& none : {Tensor(), flags({shape[0]}, 2)})
          for (const LeftOutRows left_out : {LeftOutRows::identity, LeftOutRows::uniform}) {
            CAPTURE(shape);
            const LandmarkSoftmaxOptions options{.scale = 0.6, .left_out = left_out};
            const Tensor x = normal(shape, dtype, 1), dout = normal(shape, dtype, 2);
            const Slow want = slow(x, dout, counts, none, options);
            const Tensor y = kernels::landmark_softmax(x, counts, none, options);
            CHECK_CLOSE(y, want.y, pointwise_tolerance(dtype));
            CHECK_CLOSE(kernels::landmark_softmax_grad(dout, y, counts, none, options), want.dx,
                        dot_tolerance(dtype, shape[2]));
          }
  });
}

TEST_CASE("landmark_softmax does not read logits that do not count") {
  const Tensor x = normal({1, 2, 6, 6}, kFloat32, 1), counts = flags({1, 6}, 4);
  Tensor poisoned = x.clone();
  for (const int axis : {2, 3}) {
    Tensor line = poisoned.slice(axis, 1, 2);
    fill(line, std::numeric_limits<double>::quiet_NaN());
  }
  CHECK(same_bits(kernels::landmark_softmax(poisoned, counts), kernels::landmark_softmax(x, counts)));
}

TEST_CASE("landmark_softmax survives large and impossible logits") {
  Tensor x = full({1, 1, 3, 3}, 1e4, kFloat32, device()), row = x.slice(2, 1, 2);
  fill(row, -std::numeric_limits<double>::infinity());
  const Tensor y = kernels::landmark_softmax(x);
  CHECK_CLOSE(y.slice(2, 1, 2), zeros({1, 1, 1, 3}, kFloat64, kCpu), 0);
  CHECK_CLOSE(y.slice(2, 2, 3), full({1, 1, 1, 3}, 1.0 / 3, kFloat64, kCpu), 1e-6);
}

TEST_CASE("landmark_softmax gives the same bits for any number of threads") {
  const Tensor x = normal({3, 2, 65, 65}, kFloat32, 1), counts = flags({3, 65}, 5);
  CHECK(same_for_any_thread_count([&] {
    const Tensor y = kernels::landmark_softmax(x, counts);
    return std::vector<Tensor>{y, kernels::landmark_softmax_grad(x, y, counts)};
  }));
}

TEST_CASE("landmark_softmax names what does not fit") {
  const Tensor x = zeros({2, 1, 3, 3}, kFloat32, device());
  CHECK_THROWS_WITH_AS(kernels::landmark_softmax(zeros({2, 1, 3, 4}, kFloat32, device())),
                       doctest::Contains("landmark_softmax: x is [2, 1, 3, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::landmark_softmax(x, flags({2, 4}, 2)),
                       doctest::Contains("landmark_softmax: counts is [2, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::landmark_softmax(x, {}, flags({3}, 2)),
                       doctest::Contains("landmark_softmax: none is [3]"), ShapeError);
  CHECK_THROWS_AS(kernels::landmark_softmax(x, zeros({2, 3}, kFloat32, device())), DTypeError);
  CHECK_THROWS_AS(kernels::landmark_softmax_grad(x.slice(0, 0, 1), x), ShapeError);
}

}  // namespace
}  // namespace subquad::test
