#include "subquad/autograd/ops/lag_column_attention.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {

TEST_CASE("lag_column_attention gradients of both outputs, scores included, also with dropout") {
  const LagColumns chosen{here(tensor<Index>({0, 2, 5, 1, -1, -1}, {2, 1, 3})),
                          here(tensor<Index>({0, 3, 1, 2}, {2, 1, 2}))};
  const Mask mask = Mask::from_lengths(tensor<Index>({6, 4}, {2}), 6).to(device());
  const std::vector<Variable> inputs = {leaf({2, 1, 6, 3}, 1), leaf({2, 1, 6, 3}, 2), leaf({2, 1, 6, 2}, 3),
                                        leaf({2, 1, 6}, 4), leaf({2, 1, 6}, 5)};
  const RandomState random{
      .seed = 2, .step = full({1}, 1, kInt64, device()), .samples = here(tensor<Index>({8, 3}, {2}))};
  for (const double dropout : {0.0, 0.4})
    for_each_simd_target([&] {
      CHECK_GRADIENTS(
          [&](const std::vector<Variable>& in) -> std::vector<Variable> {
            const AttentionResult r = lag_column_attention(in[0], in[1], in[2], chosen, {in[3], in[4]}, ScoreMode::bias,
                                                           mask, {.dropout = dropout, .random = random});
            return {r.out, slice(r.lse, 2, 0, 4)};  // lse of padded rows is -inf
          },
          inputs);
    });
}

// Nobody can differentiate straight_through numerically: its score gradients are those of bias with scores of 0.
TEST_CASE("lag_column_attention: straight-through scores change no value and get the gradient of a bias") {
  const LagColumns chosen{here(tensor<Index>({0, 2, 5}, {1, 1, 3})), here(tensor<Index>({1, 3}, {1, 1, 2}))};
  const auto run = [&](const Tensor& lag, const Tensor& col, ScoreMode mode) {
    const std::vector<Variable> in = {leaf({1, 1, 6, 3}, 1), leaf({1, 1, 6, 3}, 2), leaf({1, 1, 6, 2}, 3),
                                      Variable(lag, true), Variable(col, true)};
    const Variable out = lag_column_attention(in[0], in[1], in[2], chosen, {in[3], in[4]}, mode).out;
    backward(out, normal({1, 1, 6, 2}, kFloat64, 7));
    std::vector<Tensor> results = {out.value()};
    for (const Variable& x : in) results.push_back(x.grad());
    return results;
  };
  const Tensor none = zeros({1, 1, 6}, kFloat64, device());
  const Tensor lag = normal({1, 1, 6}, kFloat64, 4), col = normal({1, 1, 6}, kFloat64, 5);
  const std::vector<Tensor> got = run(lag, col, ScoreMode::straight_through), want = run(none, none, ScoreMode::bias);
  for (std::size_t i = 0; i < want.size(); ++i) CHECK_CLOSE(got[i], want[i], 1e-15);
  CHECK(largest_error(run(lag, col, ScoreMode::bias)[0], want[0]) > 1e-3);
}

}  // namespace subquad::test
