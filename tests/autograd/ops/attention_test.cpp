#include "subquad/autograd/ops/attention.h"

#include "subquad/autograd/backward.h"
#include "subquad/autograd/record.h"
#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

struct GradientCase {
  Index batch = 2, queries = 5, keys = 5, width = 3, value_width = 2;
  bool causal = false;
  Mask mask = {};
};

// Every query must see a key: the lse of one that does not is -inf, which no difference quotient can judge.
void check_gradients(const GradientCase& c) {
  CAPTURE(c.causal);
  CAPTURE(c.queries);
  const AttentionOptions options{.causal = c.causal};
  CHECK_GRADIENTS(
      [&](const std::vector<Variable>& in) -> std::vector<Variable> {
        const AttentionResult r = attention(in[0], in[1], in[2], c.mask, options);
        return {r.out, r.lse};
      },
      {leaf({c.batch, 2, c.queries, c.width}, 1), leaf({c.batch, 2, c.keys, c.width}, 2),
       leaf({c.batch, 2, c.keys, c.value_width}, 3)});
}

}  // namespace

TEST_CASE("attention gradients of both outputs") {
  for_each_simd_target([] {
    check_gradients({});
    check_gradients({.causal = true});
    check_gradients({.queries = 3, .keys = 7});
    check_gradients({.queries = 3, .keys = 7, .causal = true});
    check_gradients({.queries = 9, .keys = 4});
    check_gradients({.batch = 1, .queries = 70, .keys = 130, .width = 8, .value_width = 8});
    check_gradients({.queries = 4, .keys = 6, .mask = Mask::from_lengths(here(tensor<Index>({6, 3}, {2})), 6)});
    const Tensor scattered = tensor<bool>({true, false, true, true, false, false, true, true, false, true}, {2, 5});
    check_gradients({.queries = 4, .mask = Mask::from_bool(here(scattered))});
  });
}

TEST_CASE("attention gradients of the output alone, with padded queries skipped") {
  const Mask mask = Mask::from_lengths(here(tensor<Index>({6, 0, 4}, {3})), 6);
  for (const bool causal : {false, true}) {
    CHECK_GRADIENTS(
        [&](const std::vector<Variable>& in) -> std::vector<Variable> {
          return {attention(in[0], in[1], in[2], mask, {.causal = causal}).out};
        },
        {leaf({3, 1, 6, 3}, 1), leaf({3, 1, 6, 3}, 2), leaf({3, 1, 6, 3}, 3)});
  }
}

TEST_CASE("attention gradients of the queries that a mask of their own names") {
  const Mask queries = Mask::from_lengths(here(tensor<Index>({6, 0, 4}, {3})), 6);
  CHECK_GRADIENTS(
      [&](const std::vector<Variable>& in) -> std::vector<Variable> {
        return {attention(in[0], in[1], in[2], {}, {.queries = queries}).out};
      },
      {leaf({3, 1, 6, 3}, 1), leaf({3, 1, 2, 3}, 2), leaf({3, 1, 2, 3}, 3)});
}

TEST_CASE("attention notices a mask that is written into before backward") {
  for (const bool lengths : {false, true})
    for (const bool of_queries : {false, true}) {
      Mask mask = Mask::from_lengths(here(tensor<Index>({3, 4}, {2})), 4);
      const Variable out = attention(leaf({2, 1, 4, 2}, 1), leaf({2, 1, 4, 2}, 2), leaf({2, 1, 4, 2}, 3),
                                     of_queries ? Mask() : mask, {.queries = of_queries ? mask : Mask()})
                               .out;
      fill(lengths ? mask.lengths : mask.real, 1);
      CHECK_THROWS_WITH_AS(backward(out, zeros_like(out.value())),
                           doctest::Contains("attention: a tensor saved for backward was changed in place"), Error);
    }
}

TEST_CASE("attention: each input may go without a gradient") {
  for (int free = 0; free < 3; ++free) {
    std::vector<Variable> in;
    for (int i = 0; i < 3; ++i)
      in.emplace_back(normal({1, 1, 4, 2}, kFloat64, static_cast<std::uint64_t>(i)), i == free);
    backward(attention(in[0], in[1], in[2]).lse, full({1, 1, 4}, 1, kFloat64, device()));
    for (int i = 0; i < 3; ++i) CHECK(in[static_cast<std::size_t>(i)].grad().defined() == (i == free));
  }
}

}  // namespace subquad::test
