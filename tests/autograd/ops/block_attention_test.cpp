#include "subquad/autograd/ops/block_attention.h"

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

// Both outputs where every query sees something; else lse is -inf, which no difference quotient can judge.
void check_gradients(const BlockPattern& pattern, Index n, const Mask& mask, const BlockAttentionOptions& options) {
  CAPTURE(static_cast<int>(pattern.kind));
  CAPTURE(pattern.causal);
  const Index heads = interpreted() ? 1 : 2;
  std::vector<Variable> leaves = {leaf({2, heads, kernels::query_rows(pattern, n), 3}, 1), leaf({2, heads, n, 3}, 2),
                                  leaf({2, heads, n, 2}, 3)};
  std::uint64_t seed = 4;
  for (const Index rows : kernels::summary_rows(pattern, n)) {
    leaves.push_back(leaf({2, heads, rows, 3}, seed++));
    leaves.push_back(leaf({2, heads, rows, 2}, seed++));
  }
  const bool with_lse = !mask.defined() && pattern.sight == LineSight::all;
  CHECK_GRADIENTS(
      [&](const std::vector<Variable>& in) -> std::vector<Variable> {
        std::vector<BlockSummaries> summaries;
        for (std::size_t i = 3; i < in.size(); i += 2) summaries.push_back({in[i], in[i + 1]});
        const BlockAttentionResult r = block_attention(in[0], in[1], in[2], summaries, pattern, mask, options);
        return with_lse ? std::vector<Variable>{r.out, r.lse} : std::vector<Variable>{r.out};
      },
      leaves, interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 2} : GradcheckOptions{});
}

}  // namespace

TEST_CASE("block_attention gradients for every pattern, masked and with dropout") {
  const Index n = interpreted() ? 5 : 11, size = interpreted() ? 2 : 4;
  std::vector<BlockPattern> patterns;
  for (const bool causal : {false, true})
    for (const BlockKind kind : {BlockKind::fixed, BlockKind::logsparse, BlockKind::vertical, BlockKind::horizontal,
                                 BlockKind::mixture, BlockKind::rowmajor, BlockKind::window})
      patterns.push_back({.kind = kind, .size = size, .causal = causal});
  for (const BlockKind kind : {BlockKind::fixed, BlockKind::rowmajor})
    patterns.push_back({.kind = kind, .size = size, .own_span = true});
  for (const BlockKind kind : {BlockKind::row, BlockKind::column})
    for (const LineSight sight : {LineSight::all, LineSight::before, LineSight::after})
      patterns.push_back({.kind = kind, .size = size, .sight = sight});
  const Mask mask = Mask::from_lengths(here(tensor<Index>({n, n / 2 + 1}, {2})), n);
  const RandomState random{
      .seed = 1, .stream = 2, .step = here(tensor<Index>({3}, {1})), .samples = here(tensor<Index>({0, 1}, {2}))};
  for (const BlockPattern& pattern : patterns) {
    check_gradients(pattern, n, {}, {});
    if (!interpreted() || pattern.causal) check_gradients(pattern, n, mask, {});
    if (!interpreted() || !pattern.causal)
      check_gradients(pattern, n, {}, {.scale = 0.3, .dropout = 0.4, .random = random});
  }
}

TEST_CASE("block_attention_across gradients, those through the row's attention among them") {
  for (const bool own_span : {false, true}) {
    const BlockPattern pattern{.kind = BlockKind::rowmajor, .size = 3, .own_span = own_span};
    const auto across = [&](const std::vector<Variable>& in) -> std::vector<Variable> {
      const BlockAttentionResult row = block_attention(in[0], in[1], in[2], {}, {.kind = BlockKind::row, .size = 3});
      const BlockAttentionResult r = block_attention_across(in[0], in[1], in[2], in[3], row, pattern);
      const BlockAttentionResult plain = block_attention(in[0], in[1], in[2], {{in[3], row.out}}, pattern);
      CHECK_CLOSE(r.out.value(), plain.out.value(), 1e-12);
      CHECK_CLOSE(r.lse.value(), plain.lse.value(), 1e-12);
      return {r.out, r.lse};
    };
    const Index heads = interpreted() ? 1 : 2;
    CHECK_GRADIENTS(
        across,
        {leaf({2, heads, 8, 3}, 1), leaf({2, heads, 8, 3}, 2), leaf({2, heads, 8, 2}, 3), leaf({2, heads, 8, 3}, 4)},
        interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 2} : GradcheckOptions{});
  }
}

}  // namespace subquad::test
