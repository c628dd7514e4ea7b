// block_attention where tensor cores multiply tiles of it: lengths around a tile, and products in tf32 and bf16.
#include <bit>

#include "subquad/core/precision.h"
#include "subquad/tests/kernels/block_attention_cases.h"

namespace subquad::test {
namespace {

using namespace block_attention_cases;
using Padding = BlockCase::Padding;

BlockResults check_against_loop(const BlockCase& c, const BlockInputs& in, double tolerance) {
  const BlockExpected want = slow_block_attention(c, in);
  const BlockResults got = run(c, in);
  CHECK_CLOSE(got.forward.out, want.out, tolerance);
  CHECK_CLOSE(got.grads.dq, want.dq, tolerance);
  CHECK_CLOSE(got.grads.dk, want.dk, tolerance);
  CHECK_CLOSE(got.grads.dv, want.dv, tolerance);
  for (std::size_t t = 0; t < want.dsummaries.size(); ++t) {
    CHECK_CLOSE(got.grads.dsummaries[t].k, want.dsummaries[t].k, tolerance);
    CHECK_CLOSE(got.grads.dsummaries[t].v, want.dsummaries[t].v, tolerance);
  }
  return got;
}

// Segments, rows and windows that end inside a tile, at its edge and behind it; more summaries than a tile has rows.
const std::vector<BlockCase> kEdges = {
    {.pattern = {.kind = BlockKind::fixed, .size = 64}, .n = 130},
    {.pattern = {.kind = BlockKind::fixed, .size = 2, .causal = true}, .n = 140, .padding = Padding::prefix},
    {.pattern = {.kind = BlockKind::fixed, .size = 2}, .n = 140, .padding = Padding::scattered},
    {.pattern = {.kind = BlockKind::fixed, .size = 70, .own_span = true}, .n = 150, .padding = Padding::scattered},
    {.pattern = {.kind = BlockKind::fixed, .size = 257},
     .n = 530,
     .width = 64,
     .value_width = 64},  // two chunks of queries
    {.pattern = {.kind = BlockKind::window, .size = 33}, .n = 140, .padding = Padding::scattered},
    {.pattern = {.kind = BlockKind::window, .size = 0, .causal = true}, .n = 70},
    {.pattern = {.kind = BlockKind::window, .size = 70, .causal = true}, .n = 100, .padding = Padding::prefix},
    {.pattern = {.kind = BlockKind::row, .size = 48}, .n = 131, .padding = Padding::prefix},
    {.pattern = {.kind = BlockKind::row, .size = 48, .sight = LineSight::before}, .n = 131},
    {.pattern = {.kind = BlockKind::row, .size = 70, .sight = LineSight::after}, .n = 131}};

TEST_CASE("block_attention at the edges of tiles equals the double loop, twice with the same bits") {
  for_each_simd_target([] {
    for (BlockCase c : kEdges) {
      c.batch = c.padding == Padding::none ? 1 : 3;
      c.heads = 1;
      CAPTURE(c);
      const BlockInputs in = make_inputs(c, kFloat32);
      const std::vector<Tensor> first = check_against_loop(c, in, dot_tolerance(kFloat32, c.n * 8)).all();
      const std::vector<Tensor> second = run(c, in).all();
      for (std::size_t i = 0; i < first.size(); ++i) CHECK(same_bits(first[i], second[i]));
    }
  });
}

struct LowPrecision {
  Precision precision;
  double unit;       // of rounding to it
  int dropped_bits;  // of a float32
};

Tensor rounded(const Tensor& t, const LowPrecision& low) {
  Tensor r = t.to(kCpu).clone();
  for (float& x : r.span<float>()) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x) + (1u << (low.dropped_bits - 1));
    x = std::bit_cast<float>(bits >> low.dropped_bits << low.dropped_bits);
  }
  return here(r);
}

// Operands that need no rounding, and a power of two as scale: what is left is the rounding of p and ds.
TEST_CASE("block_attention in fp32, tf32 and bf16 is wrong by a few roundings of p and ds") {
  if (device().is_cpu()) return;  // computes in float32 whatever is asked for
  for (const LowPrecision& low :
       {LowPrecision{Precision::fp32, 0x1p-18, 13}, LowPrecision{Precision::tf32, 0x1p-11, 13},
        LowPrecision{Precision::bf16, 0x1p-8, 16}}) {
    const PrecisionGuard guard(low.precision);
    CAPTURE(low.precision);
    for (const auto& [width, value_width] : std::vector<std::pair<Index, Index>>{{16, 16}, {64, 40}, {16, 100}})
      for (const BlockPattern& pattern : {BlockPattern{.kind = BlockKind::fixed, .size = 20},
                                          BlockPattern{.kind = BlockKind::window, .size = 9, .causal = true},
                                          BlockPattern{.kind = BlockKind::row, .size = 40}}) {
        const BlockCase c{
            .pattern = pattern, .batch = 1, .heads = 2, .n = 70, .width = width, .value_width = value_width};
        CAPTURE(c);
        BlockInputs in = make_inputs(c, kFloat32);
        for (Tensor* t : {&in.q, &in.k, &in.v, &in.dout}) *t = rounded(*t, low);
        for (Summaries& table : in.summaries) table = {rounded(table.k, low), rounded(table.v, low)};
        check_against_loop(c, in, 8 * low.unit);
      }
  }
}

}  // namespace
}  // namespace subquad::test
