#include "subquad/kernels/block_attention/block_attention.h"

#include <limits>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/kernels/block_attention_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using namespace block_attention_cases;
using Padding = BlockCase::Padding;

BlockResults check_inputs(const BlockCase& c, const BlockInputs& in) {
  CAPTURE(c);
  const DType dtype = in.q.dtype();
  CAPTURE(dtype);
  const BlockExpected want = slow_block_attention(c, in);
  const BlockResults got = run(c, in);
  const double tolerance = dot_tolerance(dtype, std::max(c.n, c.width) * 8);
  CHECK_CLOSE(got.forward.out, want.out, tolerance);
  CHECK_CLOSE(got.forward.lse, want.lse, tolerance);
  CHECK_CLOSE(got.grads.dq, want.dq, tolerance);
  CHECK_CLOSE(got.grads.dk, want.dk, tolerance);
  CHECK_CLOSE(got.grads.dv, want.dv, tolerance);
  REQUIRE(got.grads.dsummaries.size() == want.dsummaries.size());
  for (std::size_t t = 0; t < want.dsummaries.size(); ++t) {
    CHECK_CLOSE(got.grads.dsummaries[t].k, want.dsummaries[t].k, tolerance);
    CHECK_CLOSE(got.grads.dsummaries[t].v, want.dsummaries[t].v, tolerance);
  }
  return got;
}

void check_case(const BlockCase& c, DType dtype) {
  check_inputs(c, make_inputs(c, dtype));
}

bool same_results(const BlockResults& a, const BlockResults& b) {
  const std::vector<Tensor> x = a.all(), y = b.all();
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!same_bits(x[i], y[i])) return false;
  return true;
}

}  // namespace

TEST_CASE("block_attention equals the double loop for every pattern, length and mask") {
  std::vector<std::pair<Index, Index>> sizes = {{1, 1},  {2, 1},  {5, 8},  {7, 7},    {12, 4},
                                                {31, 5}, {33, 8}, {65, 9}, {100, 40}, {130, 3}};
  if (interpreted()) sizes = {{1, 1}, {5, 8}, {12, 4}, {37, 8}};
  for_each_simd_target([&] {
    for (const Padding padding : {Padding::none, Padding::prefix, Padding::scattered})
      for (const auto& [n, size] : sizes)
        for (const BlockPattern& pattern : all_patterns(size)) {
          const Index batch = padding == Padding::none ? 1 : 3;
          for_each_float([&, n = n](DType dtype) {
            if (interpreted() && dtype == kFloat64 && n > 12) return;
            check_case({.pattern = pattern, .batch = batch, .heads = interpreted() ? 1 : 2, .n = n, .padding = padding},
                       dtype);
          });
        }
  });
}

TEST_CASE("block_attention of columns abreast equals the double loop around whole vectors and blocks of rows") {
  std::vector<std::pair<Index, Index>> sizes;  // columns around half a vector and one, rows around 8, 16 and 64
  for (const auto& [columns, rows] : std::vector<std::pair<Index, Index>>{
           {3, 9}, {4, 8}, {7, 17}, {8, 16}, {9, 7}, {17, 9}, {33, 3}, {8, 64}, {8, 65}})
    sizes.emplace_back(columns * rows, columns), sizes.emplace_back(columns * rows - columns / 2, columns);
  if (interpreted()) sizes = {{27, 3}, {130, 8}};
  for_each_simd_target([&] {
    for (const Padding padding : {Padding::none, Padding::prefix, Padding::scattered})
      for (const auto& [n, columns] : sizes) {
        const std::vector<BlockPattern> patterns = {
            {.kind = BlockKind::vertical, .size = columns, .causal = true},
            {.kind = BlockKind::mixture, .size = columns},
            {.kind = BlockKind::rowmajor, .size = columns, .own_span = true},
            {.kind = BlockKind::column, .size = columns},
            {.kind = BlockKind::column, .size = columns, .sight = LineSight::before},
            {.kind = BlockKind::column, .size = columns, .sight = LineSight::after}};
        for (const BlockPattern& pattern : patterns)
          check_case({.pattern = pattern,
                      .batch = padding == Padding::none ? 1 : 2,
                      .heads = 1,
                      .n = n,
                      .width = 5,
                      .value_width = 18,
                      .padding = padding},
                     kFloat32);
      }
  });
}

TEST_CASE("block_attention takes any head size, empty batches and no tokens") {
  for_each_simd_target([] {
    for (const BlockPattern& pattern : all_patterns(6)) {
      for (const auto& [width, value_width] :
           std::vector<std::pair<Index, Index>>{{1, 1}, {3, 17}, {16, 32}, {40, 5}, {64, 64}})
        check_case({.pattern = pattern,
                    .batch = 1,
                    .heads = interpreted() ? 1 : 2,
                    .n = interpreted() ? 20 : 40,
                    .width = width,
                    .value_width = value_width},
                   kFloat32);
      check_case({.pattern = pattern, .batch = 0}, kFloat32);
      check_case({.pattern = pattern, .heads = 0}, kFloat32);
      check_case({.pattern = pattern, .n = 0}, kFloat32);
    }
  });
}

TEST_CASE("block_attention of one segment, row or column is attention") {
  const Index n = interpreted() ? 33 : 300;
  const BlockCase long_line{.pattern = {.size = n}, .batch = 2, .n = n, .width = 8, .value_width = 8};
  const BlockInputs in = make_inputs(long_line, kFloat64);
  for (const bool causal : {false, true}) {
    const Tensor want = kernels::attention(in.q, in.k, in.v, {}, {.causal = causal}).out;
    const auto check = [&](const BlockPattern& pattern) {
      std::vector<Summaries> none;
      for (const Index rows : kernels::summary_rows(pattern, n))
        none.push_back({normal({2, 2, rows, 8}, kFloat64, 8), normal({2, 2, rows, 8}, kFloat64, 9)});
      CHECK_CLOSE(kernels::block_attention(in.q, in.k, in.v, none, pattern).out, want, dot_tolerance(kFloat64, n));
    };
    for (const BlockKind kind : {BlockKind::fixed, BlockKind::vertical, BlockKind::horizontal, BlockKind::mixture,
                                 BlockKind::rowmajor, BlockKind::window})
      for (const Index size : {n, std::numeric_limits<Index>::max() / 4})
        check({.kind = kind, .size = size, .causal = causal});
    for (const BlockKind kind : {BlockKind::vertical, BlockKind::horizontal, BlockKind::mixture})
      check({.kind = kind, .size = 1, .causal = causal});
  }
}

TEST_CASE("block_attention does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    for (const Padding padding : {Padding::prefix, Padding::scattered})
      for (const BlockPattern& pattern : all_patterns(7)) {
        const BlockCase c{.pattern = pattern,
                          .batch = 3,
                          .heads = interpreted() ? 1 : 2,
                          .n = interpreted() ? 21 : 60,
                          .padding = padding};
        CAPTURE(c);
        const BlockInputs clean = make_inputs(c, kFloat32);
        BlockInputs dirty = make_inputs(c, kFloat32);
        const double nan = std::numeric_limits<double>::quiet_NaN();
        for (Index b = 0; b < c.batch; ++b)
          for (Index i = 0; i < c.n; ++i) {
            if (at(clean.mask.real, {b, i}) != 0) continue;
            for (Tensor* t : {&dirty.k, &dirty.v, &dirty.q, &dirty.dout, &dirty.dlse}) {
              if (running(pattern) && t != &dirty.k && t != &dirty.v) continue;  // these queries are cells
              Tensor row = t->select(0, b).select(1, i);
              fill(row, nan);
            }
          }
        CHECK(same_results(run(c, dirty), run(c, clean)));
      }
  });
}

TEST_CASE("block_attention depends neither on the amount of padding nor on the rest of the batch") {
  for (const BlockPattern& pattern : all_patterns(interpreted() ? 11 : 48)) {
    if (pattern.kind == BlockKind::logsparse) continue;  // its table has other rows for another length: below
    BlockCase c{.pattern = pattern, .batch = 3, .heads = 1, .n = interpreted() ? 72 : 2400};
    CAPTURE(c);
    BlockInputs in = make_inputs(c, kFloat32);
    const std::vector<Index> lengths =
        interpreted() ? std::vector<Index>{66, 33, 9} : std::vector<Index>{2100, 130, 41};
    in.mask = Mask::from_lengths(here(tensor(lengths, {3})), c.n);
    for (Index sample = 0; sample < 3; ++sample)  // cells of the grid behind the last token are nobody's summary
      for (Tensor* t : {&in.dout, &in.dlse}) {
        Tensor behind = t->select(0, sample).slice(
            1, kernels::query_rows(pattern, lengths[static_cast<std::size_t>(sample)]), t->dim(2));
        fill(behind, 0);
      }
    const BlockResults all = run(c, in);
    for (Index sample = 0; sample < 3; ++sample) {
      const Index length = lengths[static_cast<std::size_t>(sample)];
      const auto cut = [&](const Tensor& t, Index rows) { return t.slice(0, sample, sample + 1).slice(2, 0, rows); };
      BlockCase alone = c;
      alone.batch = 1;
      alone.n = length;
      const Index queries = kernels::query_rows(pattern, length);
      BlockInputs one{cut(in.q, queries),
                      cut(in.k, length),
                      cut(in.v, length),
                      cut(in.dout, queries),
                      cut(in.dlse, queries).contiguous(),
                      {},
                      {}};
      const std::vector<Index> rows = kernels::summary_rows(pattern, length);
      for (std::size_t t = 0; t < rows.size(); ++t)
        one.summaries.push_back({cut(in.summaries[t].k, rows[t]), cut(in.summaries[t].v, rows[t])});
      const std::vector<Tensor> got = run(alone, one).all(), want = all.all();
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CAPTURE(length);
        CHECK(same_bits(got[i], cut(want[i], got[i].dim(2))));
      }
    }
  }
}

// On CUDA several blocks share the rows that more than 1024 queries see.
TEST_CASE("block_attention of logsparse blocks that many queries see, each time with the same bits") {
  const BlockCase c{.pattern = {.kind = BlockKind::logsparse, .causal = true},
                    .batch = 1,
                    .heads = 1,
                    .n = 2100,
                    .width = 20,
                    .value_width = 16};
  const BlockInputs in = make_inputs(c, kFloat64);
  const BlockResults first = check_inputs(c, in);
  for (int again = 0; again < 2; ++again) CHECK(same_results(first, run(c, in)));
}

// Such rows in two levels and in each head of each sample. Few tokens are real, since the loop is slow.
TEST_CASE("block_attention of logsparse blocks that many queries see, in every level, head and sample") {
  const BlockCase c{.pattern = {.kind = BlockKind::logsparse}, .n = 4200, .width = 4, .value_width = 4};
  BlockInputs in = make_inputs(c, kFloat32);
  Tensor real = zeros({c.batch, c.n}, kBool, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index i = 0; i < c.n; ++i) real.data<bool>()[b * c.n + i] = (i / 32 + 4 * b) % 23 == 0;
  in.mask = Mask::from_bool(real).to(device());
  check_inputs(c, in);
}

TEST_CASE("causal block_attention sees no later token") {
  for (const BlockPattern& pattern : all_patterns(6)) {
    if (!pattern.causal) continue;
    const BlockCase c{.pattern = pattern, .batch = 1, .n = 50};
    CAPTURE(c);
    const BlockInputs in = make_inputs(c, kFloat32);
    BlockInputs other = make_inputs(c, kFloat32);
    const Index from = 29;
    for (Tensor* t : {&other.k, &other.v}) {
      Tensor late = t->slice(2, from, c.n);
      fill(late, 100);
    }
    const auto early = [&](const BlockInputs& x) { return run(c, x).forward.out.slice(2, 0, from); };
    CHECK(same_bits(early(other), early(in)));
  }
}

TEST_CASE("block_attention gives the same bits for any number of threads") {
  for (const BlockPattern& pattern : all_patterns(interpreted() ? 20 : 50)) {
    const BlockCase c{
        .pattern = pattern, .batch = 1, .heads = 1, .n = interpreted() ? 66 : 3000, .width = 8, .value_width = 8};
    const BlockInputs in = make_inputs(c, kFloat32);
    CAPTURE(c);
    CHECK(same_for_any_thread_count([&] { return run(c, in).all(); }));
  }
}

TEST_CASE("block_attention survives logits that exp cannot hold") {
  for (const BlockPattern& pattern : all_patterns(7)) {
    const BlockCase c{.pattern = pattern, .batch = 1, .n = interpreted() ? 30 : 50};
    CAPTURE(c);
    BlockInputs in = make_inputs(c, kFloat64);
    Tensor large = in.q.to(kCpu).clone();
    for (double& x : large.span<double>()) x *= 1e4;
    in.q = here(large);
    const BlockExpected want = slow_block_attention(c, in);
    CHECK_CLOSE(run(c, in).forward.out, want.out, 1e-9);
    CHECK_CLOSE(run(c, in).forward.lse, want.lse, 1e-12);
  }
}

// With v = 1 a row sums what dropout left of the weights: all of the summaries', and of the direct ones each either
// none or p / (1 - probability).
TEST_CASE("block_attention drops direct weights alone, by sample, position and head") {
  const Index n = interpreted() ? 100 : 400;
  const BlockCase c{.pattern = {.kind = BlockKind::row, .size = n}, .batch = 2, .heads = 2, .n = n};
  BlockInputs in = make_inputs(c, kFloat64);
  fill(in.q, 0);  // every weight is 1 / n
  fill(in.v, 1);
  const auto random = [](std::vector<Index> samples) {
    const Index count = static_cast<Index>(samples.size());
    return RandomState{
        .seed = 3, .stream = 5, .step = here(tensor<Index>({9}, {1})), .samples = here(tensor(samples, {count}))};
  };
  const BlockAttentionOptions options{.dropout = 0.25, .random = random({7, 8})};
  const Tensor out = run(c, in, options).forward.out;
  const Tensor rows = doubles(out);
  double sum = 0;
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < c.n; ++i) {
      const double kept = at(rows, {b, 1, i, 0}) * static_cast<double>(n) * 0.75;
      CHECK(kept == doctest::Approx(std::round(kept)).epsilon(1e-9));
      CHECK(kept < static_cast<double>(n));
      sum += kept;
    }
  CHECK(sum / static_cast<double>(2 * n * n) == doctest::Approx(0.75).epsilon(interpreted() ? 0.03 : 0.01));
  // another batch and another length: the same bits
  const auto cut = [&](const Tensor& t) { return t.slice(0, 1, 2); };
  const Tensor alone = kernels::block_attention(cut(in.q), cut(in.k), cut(in.v), {}, c.pattern, {},
                                                {.dropout = 0.25, .random = random({8})})
                           .out;
  CHECK(same_bits(alone, cut(out)));
  CHECK(!same_bits(out.select(1, 0), out.select(1, 1)));
  // summaries keep their weights
  const BlockCase fixed{.pattern = {.kind = BlockKind::fixed, .size = 1}, .batch = 1, .heads = 1, .n = 50};
  BlockInputs few = make_inputs(fixed, kFloat64);
  fill(few.q, 0);
  fill(few.v, 0);
  fill(few.summaries[0].v, 1);
  CHECK_CLOSE(run(fixed, few, {.dropout = 0.9, .random = random({1})}).forward.out,
              full({1, 1, 50, 3}, 49.0 / 50, kFloat64, kCpu), 1e-12);
}

TEST_CASE("block_attention_add_grads adds the gradients of keys and values") {
  for (const BlockKind kind : {BlockKind::row, BlockKind::column})
    for (const LineSight sight : {LineSight::all, LineSight::before, LineSight::after})
      for (const Padding padding : {Padding::none, Padding::scattered}) {
        const BlockCase c{
            .pattern = {.kind = kind, .size = 9, .sight = sight}, .batch = 3, .n = 50, .padding = padding};
        CAPTURE(c);
        BlockInputs in = make_inputs(c, kFloat32);
        in.dlse = {};
        const BlockResults want = run(c, in);
        Tensor dk = normal({3, c.n, 2, c.width}, kFloat32, 20), dv = normal({3, c.n, 2, c.value_width}, kFloat32, 21);
        const Tensor k_before = doubles(dk.transpose(1, 2)), v_before = doubles(dv.transpose(1, 2));
        Tensor dk_heads = dk.transpose(1, 2), dv_heads = dv.transpose(1, 2);
        const Tensor dq = kernels::block_attention_add_grads(in.dout, in.q, in.k, in.v, want.forward, c.pattern,
                                                             dk_heads, dv_heads, in.mask);
        CHECK(same_bits(dq, want.grads.dq));
        CHECK_CLOSE(dk.transpose(1, 2), kernels::add(k_before, doubles(want.grads.dk)), dot_tolerance(kFloat32, 8));
        CHECK_CLOSE(dv.transpose(1, 2), kernels::add(v_before, doubles(want.grads.dv)), dot_tolerance(kFloat32, 8));
      }
}

TEST_SUITE("cpu") {
  TEST_CASE("block_attention holds one line's entries per thread, nothing larger") {
    const BlockCase c{
        .pattern = {.kind = BlockKind::fixed, .size = 64}, .batch = 1, .n = 16384, .width = 32, .value_width = 32};
    const BlockInputs in = make_inputs(c, kFloat32);
    reset_peak_memory(kCpu);
    const std::size_t before = memory_stats(kCpu).current_bytes;
    const BlockResults got = run(c, in);
    const std::size_t results = memory_stats(kCpu).current_bytes - before;
    CHECK(memory_stats(kCpu).peak_bytes - before - results < std::size_t{4} << 20);  // a row of weights each: 40 MiB
  }
}

TEST_CASE("block_attention names the argument that does not fit") {
  const Device d = device();
  const std::string place = d.is_cpu() ? "cpu" : "cuda:0";
  const auto t = [d](const Shape& shape, DType dtype = kFloat32) { return zeros(shape, dtype, d); };
  const Tensor q = t({2, 3, 10, 4}), v = t({2, 3, 10, 6});
  const BlockPattern pattern{.kind = BlockKind::fixed, .size = 4};
  const std::vector<Summaries> tables = {{t({2, 3, 3, 4}), t({2, 3, 3, 6})}};
  CHECK_NOTHROW(kernels::block_attention(q, q, v, tables, pattern));
  CHECK_THROWS_WITH_AS(kernels::block_attention(t({3, 10, 4}), q, v, tables, pattern),
                       ("block_attention: q is [3, 10, 4] float32 " + place + ", expected rank 4").c_str(), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::block_attention(q, t({2, 3, 9, 4}), t({2, 3, 9, 6}), tables, pattern),
                       ("block_attention: q is [2, 3, 10, 4] float32 " + place +
                        ", expected 9 queries for k [2, 3, 9, 4] and this pattern")
                           .c_str(),
                       ShapeError);
  CHECK_THROWS_AS(kernels::block_attention(q, q, t({2, 3, 9, 4}), tables, pattern), ShapeError);
  CHECK_THROWS_AS(kernels::block_attention(q, q, t({2, 3, 10, 6}, kFloat64), tables, pattern), DTypeError);
  CHECK_THROWS_WITH_AS(
      kernels::block_attention(q, q, v, {{t({2, 3, 2, 4}), t({2, 3, 3, 6})}}, pattern),
      ("block_attention: summary 0's k is [2, 3, 2, 4] float32 " + place + ", expected shape [2, 3, 3, 4]").c_str(),
      ShapeError);
  CHECK_THROWS_WITH_AS(kernels::block_attention(q, q, v, {}, pattern),
                       "block_attention: 0 summary tables came, expected 1 for this pattern", Error);
  CHECK_THROWS_WITH_AS(kernels::block_attention(q, q, v, tables, {.kind = BlockKind::fixed, .size = 0}),
                       "block_attention: the pattern's size is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(kernels::block_attention(
                           q, q, v, tables, {.kind = BlockKind::fixed, .size = 4, .causal = true, .own_span = true}),
                       doctest::Contains("block_attention: own_span is true, expected false"), Error);
  CHECK_THROWS_AS(kernels::block_attention(q, q, v, tables, pattern, {}, {.dropout = 1}), Error);
  CHECK_THROWS_AS(
      kernels::block_attention(q, q, v, tables, pattern, Mask::from_lengths(here(tensor<Index>({5, 5}, {2})), 9)),
      ShapeError);
  const BlockAttentionOutput f = kernels::block_attention(q, q, v, tables, pattern);
  CHECK_THROWS_WITH_AS(
      kernels::block_attention_grad(q, {}, q, q, v, tables, f, pattern),
      ("block_attention_grad: dout is [2, 3, 10, 4] float32 " + place + ", expected shape [2, 3, 10, 6]").c_str(),
      ShapeError);
}

}  // namespace subquad::test
