#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "subquad/core/allocator.h"
#include "subquad/core/graph.h"
#include "subquad/core/precision.h"
#include "subquad/kernels/gathered_attention/gathered_attention.h"
#include "subquad/kernels/top_k/top_k.h"
#include "subquad/tests/kernels/lag_column_attention_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using namespace lag_column_cases;

TEST_CASE("lag_column_attention equals the double loop for every length and number of lags and columns") {
  const std::vector<Index> sizes =
      interpreted() ? std::vector<Index>{1, 2, 7, 33} : std::vector<Index>{1, 2, 3, 7, 31, 33, 64, 130};
  for (const Index n : sizes)
    for (const bool scores : {false, true}) {
      if (interpreted() && scores == (n == 33)) continue;
      const Case plain{.lengths = {n, 2 * n / 3, 1}, .positions = n, .scores = scores};
      check(plain);
      Case c = plain;
      c.lags = n / 2 + 1, c.columns = n / 3 + 1;
      check(c);
      c.lags = n, c.columns = 2;  // every column is dropped
      check(c);
      c.lags = 2, c.columns = n + 3;  // every key, filled up with -1
      check(c);
      c.lags = 0;
      check(c);
      c.lags = n + 70, c.columns = 0;
      check(c);
    }
  // More slots than are written down at a time, more positions and columns than a range of them has.
  if (interpreted())
    check({.lengths = {290, 261}, .heads = 1, .positions = 290, .lags = 67, .columns = 34, .scores = true});
  else
    check({.lengths = {700, 513}, .heads = 1, .positions = 700, .lags = 70, .columns = 66, .scores = true});
  check({.lags = 0, .columns = 0});
  check({.lengths = {}, .positions = 5});
  check({.lengths = {0, 0}, .positions = 0});
  check({.lengths = {0, 4}, .positions = 9});
  check({.heads = 0});
  check({.scale = -1.3});
}

TEST_CASE("lag_column_attention takes any head size") {
  const Index n = interpreted() ? 7 : 40;
  for (const Index width : {1, 3, 8, 17, 32, 40})
    for (const Index value_width : {1, 5, 16, 72})
      check(
          {.lengths = {n, n - 4}, .positions = n, .lags = 9, .columns = 5, .width = width, .value_width = value_width});
  for (const Index width : {48, 64, 100, 132, 260})
    check({.lengths = {n, 0}, .positions = n, .lags = 3, .columns = 2, .width = width, .value_width = width / 2});
}

TEST_CASE("lag_column_attention to all lags or to all columns is attention") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const bool all_lags : {true, false}) {
        const Index n = interpreted() ? 42 : 90;
        Case c{.lengths = {n, 41, 0}, .positions = n};
        (all_lags ? c.lags : c.columns) = n;
        const Inputs in = make_inputs(c, dtype);
        const Results got = run(in);
        const AttentionOutput f = kernels::attention(in.q, in.k, in.v, in.mask);
        const kernels::AttentionGrads g = kernels::attention_grad(in.dout, in.dlse, in.q, in.k, in.v, f, in.mask);
        const double tolerance = dot_tolerance(dtype, 4 * n);
        CHECK_CLOSE(got.out, f.out, tolerance);
        CHECK_CLOSE(got.lse, f.lse, tolerance);
        CHECK_CLOSE(got.dq, g.dq, tolerance);
        CHECK_CLOSE(got.dk, g.dk, tolerance);
        CHECK_CLOSE(got.dv, g.dv, tolerance);
      }
    });
  });
}

TEST_CASE("lag_column_attention is gathered attention to the same keys") {
  const Case c{.lengths = {60, 37}, .positions = 60, .lags = 11, .columns = 6};
  const Inputs in = make_inputs(c, kFloat64);
  const Tensor index = here(slot_keys(c, in.chosen));
  const AttentionOutput f = kernels::gathered_attention(in.q, in.k, in.v, index, {}, in.mask);
  const auto g = kernels::gathered_attention_grad(in.dout, in.dlse, in.q, in.k, in.v, index, f, {}, in.mask);
  const Results got = run(in);
  const double tolerance = dot_tolerance(kFloat64, 4 * 60);
  CHECK_CLOSE(got.out, f.out, tolerance);
  CHECK_CLOSE(got.dq, g.dq, tolerance);
  CHECK_CLOSE(got.dk, g.dk, tolerance);
  CHECK_CLOSE(got.dv, g.dv, tolerance);
}

TEST_CASE("lag_column_attention is as accurate at large logits as at small ones") {
  for_each_simd_target([] {
    const Case c{.lengths = {70, 33}, .positions = 70, .lags = 9, .columns = 8, .scale = 8};
    Inputs in = make_inputs(c, kFloat64);
    for (Tensor* t : {&in.q, &in.k}) {  // whole numbers: products are exact in float32, too
      Tensor whole = t->to(kCpu);
      for (double& x : whole.span<double>()) x = std::round(4 * x);
      *t = here(whole);
    }
    Inputs single = in;
    for (Tensor* t : {&single.q, &single.k, &single.v, &single.dout, &single.dlse}) *t = t->to(kFloat32);
    for (Tensor* t : {&in.v, &in.dout, &in.dlse}) *t = t->to(kFloat32).to(kFloat64);
    const std::vector<Tensor> got = run(single).all(), want = run(in).all();
    for (std::size_t i = 0; i < got.size(); ++i) CHECK_CLOSE(got[i], want[i], dot_tolerance(kFloat32, 4 * 70));
  });
}

TEST_CASE("lag_column_attention in bf16 rounds q, k, v and dout of heads up to 64 wide, and nothing else") {
  const auto rounded = [](Tensor t, const Case& c) {
    const bool rounds = !device().is_cpu() && std::max(c.width, c.value_width) <= 64 && c.width % 4 == 0;
    return rounds ? t.to(kCpu).to(kBFloat16).to(kFloat32).to(device()) : t;
  };
  const std::vector<std::pair<Index, Index>> widths = {{32, 32}, {4, 20}, {64, 40}, {36, 64}, {5, 3}, {68, 8}};
  for (const auto& [width, value_width] : widths)
    for (const bool dropout : {false, true}) {
      CAPTURE(width);
      CAPTURE(dropout);
      const Case c{.lengths = {40, 23},
                   .positions = 40,
                   .lags = 9,
                   .columns = 5,
                   .width = width,
                   .value_width = value_width,
                   .scores = dropout,
                   .dropout = dropout ? 0.3 : 0.0};
      Inputs in = make_inputs(c, kFloat32);
      if (dropout) in.q = in.q.slice(0, 0, 1).expand(in.q.shape());  // one sample's for all
      Inputs read = in;
      for (Tensor* t : {&read.q, &read.k, &read.v, &read.dout}) *t = rounded(*t, c);
      const PrecisionGuard guard(Precision::bf16);
      const Results got = run(in);
      const PrecisionGuard exact(Precision::fp32);
      const Results want = run(read);
      if (device().is_cpu() || interpreted()) {
        CHECK(same(got, want));
      } else {  // a compiler may contract the kernels for bfloat16 differently
        const std::vector<Tensor> all = got.all(), expected = want.all();
        for (std::size_t i = 0; i < all.size(); ++i) CHECK_CLOSE(all[i], expected[i], dot_tolerance(kFloat32, 4 * 40));
      }
    }
}

TEST_CASE("lag_column_attention does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    const Case c{.lengths = {70, 33, 0}, .positions = 70, .lags = 9, .columns = 8, .scores = true, .dropout = 0.2};
    const Inputs clean = make_inputs(c, kFloat32);
    Inputs dirty = make_inputs(c, kFloat32);
    for (Tensor* t : {&dirty.q, &dirty.k, &dirty.v, &dirty.dout, &dirty.dlse, &dirty.scores.lag, &dirty.scores.col})
      for (Index b = 0; b < c.batch(); ++b) {
        Tensor rows = t->select(0, b).slice(1, c.lengths[static_cast<std::size_t>(b)], c.positions);
        fill(rows, std::numeric_limits<double>::quiet_NaN());
      }
    CHECK(same(run(dirty), run(clean)));
  });
}

TEST_CASE("lag_column_attention depends neither on the amount of padding nor on the rest of the batch") {
  for_each_simd_target([] {
    for (const double dropout : {0.0, 0.4}) {
      const Index longest = interpreted() ? 280 : 1100, slots = interpreted() ? 7 : 20;
      const Case c{.lengths = {longest, longest / 2, 41},
                   .heads = 2,
                   .positions = longest + 100,
                   .lags = 2 * slots,
                   .columns = slots,
                   .scores = true,
                   .dropout = dropout};
      const Inputs in = make_inputs(c, kFloat32);
      const Results all = run(in);
      for (Index sample = 0; sample < c.batch(); ++sample) {
        const Index length = c.lengths[static_cast<std::size_t>(sample)];
        const auto one = [&](const Tensor& t) { return t.slice(0, sample, sample + 1); };
        const auto cut = [&](const Tensor& t) { return one(t).slice(2, 0, length).contiguous(); };
        const Results alone = run({cut(in.q),
                                   cut(in.k),
                                   cut(in.v),
                                   cut(in.dout),
                                   cut(in.dlse),
                                   {one(in.chosen.lags).contiguous(), one(in.chosen.columns).contiguous()},
                                   {cut(in.scores.lag), cut(in.scores.col)},
                                   {},
                                   {.dropout = dropout, .random = random_of({40 + 3 * sample})}});
        const std::vector<Tensor> got = alone.all(), want = all.all();
        for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], cut(want[i])));
      }
    }
  });
}

TEST_CASE("lag_column_attention reads views, and gives the same bits for any number of threads") {
  const Index n = interpreted() ? 270 : 1300;
  Case c{.lengths = {n}, .positions = n, .lags = 15, .columns = 10, .width = 32, .value_width = 24};
  const Inputs in = make_inputs(c, kFloat32);
  c.dropout = 0.1;
  CHECK(same_for_any_thread_count([&] { return run(make_inputs(c, kFloat32)).all(); }));
  CHECK(same_for_any_thread_count([&] { return run(in).all(); }));
  Inputs views = in;
  for (Tensor* t : {&views.q, &views.k, &views.v}) *t = t->transpose(1, 2).contiguous().transpose(1, 2);
  views.dout = in.dout.transpose(2, 3).contiguous().transpose(2, 3);  // last stride is not 1
  CHECK(same(run(views), run(in)));
  CHECK(run(in).out.transpose(1, 2).is_contiguous());
}

TEST_CASE("lag_column_attention holds no array of positions times slots") {
  const Index n = interpreted() ? 512 : 8192;
  const Case c{.lengths = {n}, .positions = n, .lags = 96, .columns = 32, .width = 16, .value_width = 16};
  const Inputs in = make_inputs(c, kFloat32);
  reset_peak_memory(device());
  const std::size_t before = memory_stats(device()).current_bytes;
  const Results got = run(in);
  const std::size_t beyond = memory_stats(device()).peak_bytes - before;
  const std::size_t rows = sizeof(float) * 2 * n;
  // Results, the copies, sums of gradients, p and ds of sixteen lags, rows of numbers, ranges; p and ds of all K = 128
  // would be 256.
  CHECK(beyond < rows * (4 * 16 + 4 + 4 * 17 + 3 * 17 + 2 * 17 + 3 + 16));
}

TEST_SUITE("cuda") {
  TEST_CASE("lag_column_attention leaves out what is no lag or column of the sample") {
    const Case c{.lengths = {9, 5}, .heads = 1, .positions = 9, .scores = true, .dropout = 0.2};
    const auto with = [&](const std::vector<Index>& lags, const std::vector<Index>& columns) {
      Inputs in = make_inputs(c, kFloat32);
      in.chosen = {here(tensor(lags, {2, 1, 4})), here(tensor(columns, {2, 1, 3}))};
      return run(in);
    };
    const Results got = with({0, 2, 9, -7, 5, 1, 3, Index{1} << 40}, {4, -1, 9, 7, 0, 8}),
                  want = with({0, 2, -1, -1, 1, 3, -1, -1}, {4, -1, -1, 0, -1, -1});
    for (std::size_t i = 0; i < got.all().size(); ++i) CHECK_CLOSE(got.all()[i], doubles(want.all()[i]), 1e-6);
  }
}

TEST_SUITE("cuda") {
  TEST_CASE("lag_column_attention in a graph takes the keys and lengths that are there at its replay") {
    const Index n = 41;
    Inputs in = make_inputs({.lengths = {n, 17}, .positions = n, .scores = true, .dropout = 0.2}, kFloat32);
    const auto step = [&](Inputs now) {
      const auto chosen = kernels::choose_top_k_pair({now.scores.lag, 7, 1}, {now.scores.col, 5, -1}, now.mask);
      now.chosen = {chosen[0], chosen[1]};
      return run(now).all();
    };
    std::vector<Tensor> out;
    Graph graph = Graph::capture(device(), [&] { out = step(in); });
    for (const std::vector<Index>& lengths : {std::vector<Index>{17, n}, std::vector<Index>{0, 3}}) {
      Inputs other = in;
      other.mask = Mask::from_lengths(tensor(lengths, {2}), n).to(device());
      other.scores.lag = normal(in.scores.lag.shape(), kFloat32, 20 + static_cast<std::uint64_t>(lengths[0]));
      copy(other.mask.lengths, in.mask.lengths);
      copy(other.scores.lag, in.scores.lag);
      graph.replay();
      const std::vector<Tensor> want = step(other);
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(same_bits(out[i], want[i]));
    }
  }
}

TEST_CASE("lag_column_attention names what does not fit") {
  const Tensor x = zeros({2, 1, 5, 4}, kFloat32, kCpu);
  const Mask mask = Mask::from_lengths(tensor<Index>({5, 3}, {2}), 5);
  const auto call = [&](const std::vector<Index>& second, const Mask& with) {
    Tensor lags = tensor<Index>({0, 1, 2, 0, 0, 0}, {2, 1, 3});
    std::copy(second.begin(), second.end(), lags.data<Index>() + 3);
    return kernels::lag_column_attention(x, x, x, {lags, tensor<Index>({0, 1}, {2, 1, 1})}, {}, with);
  };
  CHECK_NOTHROW(call({0, 2, -1}, mask));
  CHECK_THROWS_WITH_AS(call({0, 1, 3}, mask),
                       "lag_column_attention: lags[1, 0, 2] is 3, expected lags to be rising numbers from 0 to 2 (the "
                       "sample has 3 positions), then -1",
                       Error);
  CHECK_NOTHROW(call({0, 1, 3}, {}));
  for (const auto& list : std::vector<std::vector<Index>>{{0, 0, 1}, {2, 1, -1}, {0, -1, 1}, {-2, 0, 1}})
    CHECK_THROWS_WITH_AS(call(list, mask), doctest::Contains("expected lags to be rising numbers"), Error);
  const Mask holes =
      Mask::from_bool(tensor<bool>({true, false, true, true, true, true, true, true, true, true}, {2, 5}));
  CHECK_THROWS_WITH_AS(call({0, 1, 2}, holes), doctest::Contains("expected a prefix mask"), Error);
  const LagColumns chosen{zeros({2, 1, 1}, kInt64, kCpu), zeros({2, 1, 1}, kInt64, kCpu)};
  CHECK_THROWS_WITH_AS(
      kernels::lag_column_attention(x, x, x, {chosen.lags, zeros({2, 2, 1}, kInt64, kCpu)}),
      doctest::Contains("lag_column_attention: columns is [2, 2, 1] int64 cpu, expected shape [2, 1, 1]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::lag_column_attention(x, x, x, chosen, {zeros({2, 1, 4}, kFloat32, kCpu), {}}),
                       doctest::Contains("lag_column_attention: lag_score is [2, 1, 4]"), ShapeError);
  const auto drop = [&](double dropout, RandomState random) {
    for (Tensor* t : {&random.step, &random.samples})
      if (t->defined()) *t = t->to(kCpu);
    return kernels::lag_column_attention(x, x, x, chosen, {}, {}, {.dropout = dropout, .random = random});
  };
  CHECK_THROWS_WITH_AS(drop(1, random_of({1, 2})),
                       "lag_column_attention: probability is 1, expected 0 <= probability < 1", Error);
  CHECK_THROWS_WITH_AS(drop(0.1, {}), "lag_column_attention: random.step is undefined", Error);
  CHECK_THROWS_WITH_AS(drop(0.1, random_of({1})),
                       "lag_column_attention: random.samples is [1] int64 cpu, expected shape [2]", ShapeError);
  const Tensor longer = zeros({2, 1, 6, 4}, kFloat32, kCpu);
  CHECK_THROWS_WITH_AS(kernels::lag_column_attention(x, longer, longer, chosen),
                       doctest::Contains("lag_column_attention: k is [2, 1, 6, 4]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
