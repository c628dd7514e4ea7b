#include "subquad/autograd/ops/score_heads.h"

#include <doctest/doctest.h>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

TEST_CASE("score_heads gradients") {
  for (const auto& [batch, positions, heads, channels, hidden] : std::vector<std::array<Index, 5>>{
           {1, 1, 1, 1, 1}, {2, 3, 2, 2, 3}, {1, 70, 2, 4, 5}, {2, 0, 1, 2, 2}, {1, 3, 2, 2, 0}})
    CHECK_GRADIENTS([](const auto& in) { return std::vector{score_heads(in[0], in[1], in[2], in[3], in[4])}; },
                    {leaf({batch, positions, heads * channels}, 1), leaf({heads, channels}, 2),
                     leaf({heads, channels, hidden}, 3), leaf({heads, hidden}, 4), leaf({heads, hidden}, 5)});
}

TEST_CASE("score_heads_pair gradients, also where only one of the scores is used") {
  std::vector<Variable> inputs;
  for (std::uint64_t seed : {0, 5})
    for (const Shape& shape : std::vector<Shape>{{2, 3, 4}, {2, 2}, {2, 2, 3}, {2, 3}, {2, 3}})
      inputs.push_back(leaf(shape, ++seed));
  const auto both = [](const std::vector<Variable>& in) {
    return score_heads_pair({in[0], in[1], in[2], in[3], in[4]}, {in[5], in[6], in[7], in[8], in[9]});
  };
  CHECK_GRADIENTS(
      [&](const auto& in) {
        const auto scores = both(in);
        return std::vector{scores[0], scores[1]};
      },
      inputs);
  CHECK_GRADIENTS([&](const auto& in) { return std::vector{both(in)[1]}; }, inputs);
}

}  // namespace
}  // namespace subquad::test
