#include "subquad/kernels/landmark_softmax/landmark_weights.h"

#include <doctest/doctest.h>

#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/tests/kernels/landmark_flags.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

using kernels::LandmarkSoftmaxOptions;
using kernels::LeftOutRows;

// In float64, step by step: landmark_softmax_test has looked at the softmax.
TEST_CASE("landmark_weights and its gradients are a product and its softmax") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{2, 2, 5, 3}, Shape{1, 3, 1, 1}, Shape{3, 1, 33, 40}, Shape{2, 1, 64, 32},
                               Shape{1, 2, 70, 9}, Shape{0, 2, 4, 4}, Shape{2, 1, 0, 2}})
      for (const bool left_out : {false, true})
        for (const bool uses : {false, true}) {
          CAPTURE(shape);
          const Tensor counts = left_out ? flags({shape[0], shape[2]}, 3) : Tensor();
          const Tensor none = left_out ? flags({shape[0]}, 2) : Tensor();
          const LandmarkSoftmaxOptions options{.scale = 0.3,
                                               .left_out = uses ? LeftOutRows::identity : LeftOutRows::uniform};
          const Tensor q = normal(shape, dtype, 1), k = normal(shape, dtype, 2);
          const Tensor dout = normal(shape.with(3, shape[2]), dtype, 3);
          const Tensor use_of_q = uses ? normal(shape, dtype, 4) : Tensor();
          const Tensor use_of_k =
              uses ? normal({shape[0], shape[2], shape[1], shape[3]}, dtype, 5).transpose(1, 2) : Tensor();

          const Tensor exact_q = here(doubles(q)), exact_k = here(doubles(k));
          const Tensor want =
              kernels::landmark_softmax(kernels::matmul(exact_q, exact_k.transpose(2, 3)), counts, none, options);
          const Tensor dx = kernels::landmark_softmax_grad(here(doubles(dout)), want, counts, none, options);
          Tensor dq = kernels::matmul(dx, exact_k), dk = kernels::matmul(dx.transpose(2, 3), exact_q);
          if (uses) dq = kernels::add(dq, here(doubles(use_of_q)));
          if (uses) dk = kernels::add(dk, here(doubles(use_of_k)));

          const double tolerance = 4 * dot_tolerance(dtype, shape[2] + shape[3]);
          const Tensor y = kernels::landmark_weights(q, k, counts, none, options);
          CHECK_CLOSE(y, doubles(want), tolerance);
          const auto got = kernels::landmark_weights_grad(dout, y, q, k, use_of_q, use_of_k, counts, none, options);
          CHECK_CLOSE(got.dq, doubles(dq), tolerance);
          CHECK_CLOSE(got.dk, doubles(dk), tolerance);
        }
  });
}

TEST_CASE("landmark_weights reads views, and gives a head the same bits whatever else is in the batch") {
  const Tensor q = normal({2, 20, 3, 12}, kFloat32, 1).transpose(1, 2), k = normal({2, 3, 20, 12}, kFloat32, 2);
  const Tensor y = kernels::landmark_weights(q, k), dout = normal(y.shape(), kFloat32, 3);
  CHECK(same_bits(y, kernels::landmark_weights(q.contiguous(), k)));
  const auto one = [](const Tensor& t) { return t.slice(0, 1, 2).slice(1, 2, 3).contiguous(); };
  CHECK(same_bits(one(y), kernels::landmark_weights(one(q), one(k))));
  const auto all = kernels::landmark_weights_grad(dout, y, q, k);
  const auto alone = kernels::landmark_weights_grad(one(dout), one(y), one(q), one(k));
  CHECK(same_bits(one(all.dq), alone.dq));
  CHECK(same_bits(one(all.dk), alone.dk));
}

TEST_CASE("landmark_weights gives the same bits every time") {
  for (const Shape& shape : {Shape{2, 2, 33, 40}, Shape{1, 2, 70, 9}}) {
    CAPTURE(shape);
    const Tensor q = normal(shape, kFloat32, 1), k = normal(shape, kFloat32, 2);
    const Tensor dout = normal(shape.with(3, shape[2]), kFloat32, 3), y = kernels::landmark_weights(q, k);
    CHECK(same_bits(kernels::landmark_weights(q, k), y));
    const auto first = kernels::landmark_weights_grad(dout, y, q, k);
    const auto second = kernels::landmark_weights_grad(dout, y, q, k);
    CHECK(same_bits(second.dq, first.dq));
    CHECK(same_bits(second.dk, first.dk));
  }
}

TEST_CASE("landmark_weights names what does not fit") {
  const auto zero = [](const Shape& shape) { return zeros(shape, kFloat32, device()); };
  const Tensor q = zero({2, 1, 3, 4});
  CHECK_THROWS_WITH_AS(kernels::landmark_weights(q, zero({2, 1, 2, 4})),
                       doctest::Contains("landmark_weights: k is [2, 1, 2, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::landmark_weights(q, q, flags({2, 4}, 2)), doctest::Contains("counts is [2, 4]"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(kernels::landmark_weights_grad(zero({2, 1, 3, 3}), zero({2, 1, 3, 3}), q, q, zero({2, 1, 3, 3})),
                       doctest::Contains("landmark_weights_grad: use is [2, 1, 3, 3]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
