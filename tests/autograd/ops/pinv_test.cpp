#include "subquad/autograd/ops/pinv.h"

#include <doctest/doctest.h>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/autograd/ops/softmax.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

constexpr PinvStart kStarts[] = {PinvStart::exact, PinvStart::original, PinvStart::product};

TEST_CASE("pinv gradients, through the coefficient too") {
  for (const PinvStart start : kStarts)
    for (const int iterations : {1, 4}) {
      CAPTURE(iterations);
      const PinvOptions options{.iterations = iterations, .start = start};
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{pinv(softmax(in[0]), options)}; },
                      {leaf({2, 3, 4, 4}, 1)});
    }
  // any matrix, entries of both signs
  CHECK_GRADIENTS(
      [&](const auto& in) { return std::vector{pinv(in[0], {.iterations = 3, .start = PinvStart::product})}; },
      {leaf({3, 5, 5}, 2)});
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{pinv(in[0], {.iterations = 1})}; }, {leaf({2, 3, 3}, 4)});
}

// The same steps as a graph of products, with c a constant.
Variable unrolled(const Variable& a, const Variable& c, int iterations) {
  const Index size = a.dim(-1);
  Tensor identity = zeros({size, size}, a.dtype(), device());
  for (Index i = 0; i < size; ++i) {
    Tensor diagonal = identity.select(0, i).slice(0, i, i + 1);
    fill(diagonal, 1);
  }
  const auto minus = [&](double factor, const Variable& x) { return sub(mul_scalar(Variable(identity), factor), x); };
  Variable z = mul(c, transpose(a, -2, -1));
  for (int t = 0; t < iterations; ++t) {
    const Variable x = matmul(a, z);
    z = mul_scalar(matmul(z, minus(13, matmul(x, minus(15, matmul(x, minus(7, x)))))), 0.25);
  }
  return z;
}

TEST_CASE("a detached coefficient gets no gradient") {
  const Tensor logits = normal({2, 6, 6}, kFloat64, 3), upstream = normal({2, 6, 6}, kFloat64, 4);
  const Variable ours(softmax(Variable(logits)).value(), true), plain(ours.value(), true);
  const Variable norm = max(sum(ours.detach(), {1}), {1}, true).values;  // [2, 1]: the largest column sum
  const Variable c = reshape(reciprocal(norm), {2, 1, 1});
  const Variable z = pinv(ours, {.detach_coefficient = true}), want = unrolled(plain, c, 6);
  CHECK_CLOSE(z.value(), want.value(), 1e-12);
  backward(z, upstream);
  backward(want, upstream);
  CHECK_CLOSE(ours.grad(), plain.grad(), 1e-11);
}

}  // namespace
}  // namespace subquad::test
