// The dropout of lag-column attention's probabilities.
#include <cmath>
#include <vector>

#include "subquad/tests/kernels/lag_column_attention_cases.h"

namespace subquad::test {
namespace {

using namespace lag_column_cases;

TEST_CASE("lag_column_attention with dropout equals the double loop") {
  const std::vector<Index> sizes =
      interpreted() ? std::vector<Index>{1, 5, 30} : std::vector<Index>{1, 2, 5, 16, 17, 30, 33, 66, 130};
  for (const double dropout : {0.1, 0.5})
    for (const Index n : sizes) {
      if (interpreted() && dropout < 0.5 && n > 5) continue;
      Case c{.lengths = {n, 2 * n / 3, 1}, .positions = n, .scores = true, .dropout = dropout};
      check(c);
      c.lags = n / 2 + 1, c.columns = n / 3 + 1;
      check(c);
      c.lags = n, c.columns = 2;
      check(c);
      c.lags = 0, c.columns = n + 3;
      check(c);
      c.lags = n + 70, c.columns = 0;
      check(c);
    }
  const Index n = interpreted() ? 70 : 700;
  check({.lengths = {n, 3 * n / 4},
         .heads = 3,
         .positions = n,
         .lags = n / 10,
         .columns = n / 10 + 1,
         .width = 3,
         .value_width = 5,
         .dropout = 0.3});
  check({.lengths = {}, .positions = 5, .dropout = 0.3});
  check({.lengths = {0, 4}, .positions = 9, .dropout = 0.3});
  check({.heads = 0, .dropout = 0.3});
}

// Values are the identity: out shows the weights, and what became of each.
TEST_CASE("lag_column_attention drops the fraction that it is told to, and leaves lse alone") {
  const Index n = 120;
  const double dropout = 0.3;
  const Case c{.lengths = {n, n}, .heads = 3, .positions = n, .lags = 25, .columns = 20, .value_width = n};
  Inputs in = make_inputs(c, kFloat64);
  Tensor identity = zeros(in.v.shape(), kFloat64, kCpu);
  for (Index row = 0; row < 6 * n; ++row) identity.data<double>()[row * n + row % n] = 1;
  in.v = here(identity);
  const AttentionOutput all = kernels::lag_column_attention(in.q, in.k, in.v, in.chosen);
  const AttentionOutput some = kernels::lag_column_attention(in.q, in.k, in.v, in.chosen, {}, {},
                                                             {.dropout = dropout, .random = random_of({1, 2})});
  CHECK(same_bits(some.lse, all.lse));
  CHECK(same_bits(some.lse_rest, all.lse_rest));
  const Tensor keys = slot_keys(c, in.chosen), whole = doubles(all.out), rest = doubles(some.out);
  for (const bool lags : {true, false}) {
    CAPTURE(lags);
    double kept = 0, slots = 0;
    for (Index row = 0; row < 6 * n; ++row)
      for (Index s = lags ? 0 : c.lags; s < (lags ? c.lags : c.lags + c.columns); ++s) {
        const Index key = keys.data<Index>()[row * (c.lags + c.columns) + s];
        if (key < 0) continue;
        const double weight = at(whole, row * n + key), left = at(rest, row * n + key);
        if (left != 0) CHECK(left * (1 - dropout) == doctest::Approx(weight));
        kept += left != 0 ? 1 : 0;
        ++slots;
      }
    CHECK(slots > 10000);
    CHECK(std::abs(kept / slots - (1 - dropout)) < 4 * std::sqrt(dropout * (1 - dropout) / slots));
  }
}

TEST_CASE("lag_column_attention: what a lag's or a column's weights lose does not depend on what else is chosen") {
  const Index n = 50;
  const auto dropped = [&](const std::vector<Index>& lags, const std::vector<Index>& columns, Index key_of_zero) {
    const Tensor q = zeros({1, 1, n, 1}, kFloat64, device());  // all weights are alike
    Tensor v = zeros({1, 1, n, n}, kFloat64, kCpu);
    for (Index j = 0; j < n; ++j) v.data<double>()[j * n + j] = 1;
    const LagColumns chosen{here(tensor(lags, {1, 1, Index(lags.size())})),
                            here(tensor(columns, {1, 1, Index(columns.size())}))};
    const LagColumnOptions options{.dropout = 0.5, .random = random_of({7})};
    const Tensor out = doubles(kernels::lag_column_attention(q, q, here(v), chosen, {}, {}, options).out);
    std::vector<bool> zero;
    for (Index i = 0; i < n; ++i)
      zero.push_back(at(out, {0, 0, i, lags.empty() ? key_of_zero : (i + key_of_zero) % n}) == 0);
    return zero;
  };
  CHECK(dropped({9}, {}, 9) == dropped({0, 3, 9, 40}, {}, 9));
  CHECK(dropped({9}, {}, 9) != dropped({10}, {}, 10));
  CHECK(dropped({}, {9}, 9) == dropped({}, {2, 9, 11}, 9));
  CHECK(dropped({}, {9}, 9) != dropped({9}, {}, 9));
}

}  // namespace
}  // namespace subquad::test
