#include "subquad/autograd/ops/softmax.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/kernels/softmax/softmax.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("softmax and log_softmax gradients along every dimension") {
  for (const Shape& shape : {Shape{5}, Shape{2, 3}, Shape{2, 3, 4}, Shape{7, 1}, Shape{0, 3}, Shape{3, 40}})
    for (int dim = -shape.rank(); dim < shape.rank(); ++dim) {
      CAPTURE(shape);
      CAPTURE(dim);
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{softmax(in[0], dim)}; }, {leaf(shape, 1)});
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{log_softmax(in[0], dim)}; }, {leaf(shape, 2)});
    }
}

TEST_CASE("softmax along an inner dimension is softmax of the transposed tensor") {
  const Tensor x = normal({3, 5, 4}, kFloat32, 1);
  const Tensor moved = kernels::softmax(x.transpose(1, 2).contiguous()).transpose(1, 2);
  const Variable y = softmax(Variable(x), 1);
  CHECK(y.value().is_contiguous());
  CHECK(same_bits(y.value(), moved));
  CHECK(same_bits(softmax(Variable(x), -2).value(), moved));
}

TEST_CASE("softmax takes a strided upstream gradient") {
  const Variable a(normal({3, 4}, kFloat64, 1), true), b(a.value(), true);
  const Tensor up = normal({4, 3}, kFloat64, 2).transpose(0, 1);
  backward(softmax(a), up);
  backward(softmax(b), up.contiguous());
  CHECK(same_bits(a.grad(), b.grad()));
}

TEST_CASE("softmax names a dimension that is not there") {
  const Variable x(zeros({2, 3}, kFloat32, device()));
  CHECK_THROWS_WITH_AS(softmax(x, 2), "softmax: dim 2 is outside x of shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(log_softmax(x, -3), "log_softmax: dim -3 is outside x of shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(softmax(Variable(zeros({}, kFloat32, device()))), "softmax: dim -1 is outside x of shape []",
                       ShapeError);
}

}  // namespace
}  // namespace subquad::test
