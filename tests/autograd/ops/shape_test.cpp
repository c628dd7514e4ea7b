#include "subquad/autograd/ops/shape.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using namespace subquad::test;

void check(const std::function<Variable(const Variable&)>& op, const Shape& shape = {2, 3, 4}) {
  CHECK_GRADIENTS([&](const std::vector<Variable>& in) { return std::vector<Variable>{op(in[0])}; }, {leaf(shape, 1)});
}

}  // namespace

TEST_CASE("shape ops that give views pass gradcheck") {
  check([](const Variable& x) { return reshape(x, {4, -1}); });
  check([](const Variable& x) { return reshape(x, {1}); }, {});
  check([](const Variable& x) { return transpose(x, 0, -1); });
  check([](const Variable& x) { return permute(x, {2, 0, 1}); });
  check([](const Variable& x) { return permute(x, {-1, -3, 1}); });
  check([](const Variable& x) { return slice(x, 1, 1, 3); });
  check([](const Variable& x) { return slice(x, -1, 0, 4, 3); });
  check([](const Variable& x) { return slice(x, 0, 1, 1); });
  check([](const Variable& x) { return select(x, 1, 2); });
  check([](const Variable& x) { return select(x, -1, 0); });
  check([](const Variable& x) { return expand(x, {5, 2, 3, 4}); });
  check([](const Variable& x) { return expand(x, {2, 3, 4}); }, {2, 1, 4});
  check([](const Variable& x) { return unsqueeze(x, 1); });
  check([](const Variable& x) { return unsqueeze(x, -1); });
  check([](const Variable& x) { return squeeze(x, 1); }, {3, 1, 2});
}

TEST_CASE("shape ops that copy pass gradcheck") {
  const Tensor index = here(tensor<Index>({2, 0, 2, 2}, {4}));
  const Tensor places = here(tensor<Index>({1, 1, 0, 2, 2, 2}, {2, 1, 3}));
  check([](const Variable& x) { return contiguous(transpose(x, 0, 2)); });
  check([&](const Variable& x) { return index_select(x, 1, index); });
  check([&](const Variable& x) { return index_select(x, -1, index); });
  check([&](const Variable& x) { return gather(x, 1, places); });
  CHECK_GRADIENTS(
      [](const std::vector<Variable>& in) {
        return std::vector<Variable>{concat({in[0], transpose(in[1], 0, 1), in[0]}, -1)};
      },
      {leaf({2, 3}, 1), leaf({4, 2}, 2)});
}

TEST_CASE("a view of a view of a sum of views") {
  check([](const Variable& x) {
    const Variable heads = transpose(reshape(x, {2, 3, 2, 2}), 1, 2);
    return concat({select(heads, 1, 0), slice(select(heads, 1, 1), 1, 0, 2)}, 1);
  });
}

TEST_CASE("cast goes to float32 and back, and an integer result carries no gradient") {
  const Variable x = leaf({3}, 1);
  const Variable y = cast(x, kFloat32);
  CHECK_EQ(y.dtype(), kFloat32);
  backward(y, here(tensor({1.0f, 2.0f, 3.0f}, {3})));
  CHECK(same_bits(x.grad(), tensor({1.0, 2.0, 3.0}, {3})));
  CHECK_FALSE(cast(x, kInt64).requires_grad());
}

TEST_CASE("contiguous hands a contiguous value through") {
  const Variable x = leaf({3}, 1);
  CHECK_EQ(contiguous(x).impl(), x.impl());
}

}  // namespace subquad
