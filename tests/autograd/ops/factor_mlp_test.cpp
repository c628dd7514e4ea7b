#include "subquad/autograd/ops/factor_mlp.h"

#include "subquad/autograd/backward.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("factor_mlp gradients") {
  const Tensor real = tensor<bool>({true, false, true, true, false, false, true, true}, {2, 4});
  for (const Mask& mask :
       {Mask(), Mask::from_lengths(here(tensor<Index>({4, 1}, {2})), 4), Mask::from_bool(here(real))})
    for (const Index factors : {1, 3})
      CHECK_GRADIENTS([&](const auto& in) { return std::vector{factor_mlp(in[0], in[1], in[2], in[3], in[4], mask)}; },
                      {leaf({2, 4, 3}, 1), leaf({factors, 3, 5}, 2), leaf({factors, 5}, 3), leaf({factors, 5, 2}, 4),
                       leaf({factors, 2}, 5)});
}

TEST_CASE("factor_mlp: each input may go without a gradient") {
  const std::vector<Shape> shapes = {{1, 4, 3}, {2, 3, 5}, {2, 5}, {2, 5, 2}, {2, 2}};
  for (std::size_t free = 0; free < shapes.size(); ++free) {
    std::vector<Variable> in;
    for (std::size_t i = 0; i < shapes.size(); ++i) in.emplace_back(normal(shapes[i], kFloat64, i), i == free);
    const Variable out = factor_mlp(in[0], in[1], in[2], in[3], in[4]);
    backward(out, full(out.shape(), 1, kFloat64, device()));
    for (std::size_t i = 0; i < shapes.size(); ++i) CHECK(in[i].grad().defined() == (i == free));
  }
}

}  // namespace subquad::test
