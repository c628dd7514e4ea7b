#include "subquad/autograd/ops/cross_entropy.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("cross_entropy gradients") {
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 3}, Shape{4, 10}, Shape{3, 40}, Shape{0, 4}}) {
    CAPTURE(shape);
    Tensor labels = zeros({shape[0]}, kInt64, kCpu);
    for (Index b = 0; b < shape[0]; ++b) labels.data<std::int64_t>()[b] = (3 * b + 1) % shape[1];
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{cross_entropy(in[0], here(labels))}; }, {leaf(shape, 1)});
    CHECK_GRADIENTS([&](const auto& in) { return std::vector{cross_entropy_each(in[0], here(labels))}; },
                    {leaf(shape, 2)});
  }
}

TEST_CASE("cross_entropy is the mean over the batch, 0 over none") {
  const Variable logits(normal({3, 5}, kFloat32, 1));
  const Tensor labels = here(tensor<std::int64_t>({4, 0, 2}, {3}));
  const Tensor each = cross_entropy_each(logits, labels).value(), mean = cross_entropy(logits, labels).value();
  CHECK(mean.rank() == 0);
  CHECK(at(mean, 0) == doctest::Approx((at(each, 0) + at(each, 1) + at(each, 2)) / 3));

  const Variable nothing(zeros({0, 5}, kFloat32, device()), true);
  const Variable loss = cross_entropy(nothing, zeros({0}, kInt64, device()));
  CHECK(at(loss.value(), 0) == 0);
  backward(loss);
  CHECK(nothing.grad().shape() == Shape{0, 5});
}

}  // namespace
}  // namespace subquad::test
