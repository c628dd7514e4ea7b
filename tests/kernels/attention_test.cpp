#include "subquad/kernels/attention/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/tests/kernels/attention_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using namespace attention_cases;

void check_results(const AttentionCase& c, const Inputs& in) {
  CAPTURE(c);
  const DType dtype = in.q.dtype();
  CAPTURE(dtype);
  const Expected want = slow_attention(c, in);
  const Results got = run(in, c.options());
  const double tolerance = dot_tolerance(dtype, std::max({c.queries, c.keys, c.width, c.value_width}) * 4);
  CHECK_CLOSE(got.forward.out, want.out, tolerance);
  CHECK_CLOSE(got.forward.lse, want.lse, tolerance);
  CHECK_CLOSE(got.grads.dq, want.dq, tolerance);
  CHECK_CLOSE(got.grads.dk, want.dk, tolerance);
  CHECK_CLOSE(got.grads.dv, want.dv, tolerance);
}

void check_everywhere(const AttentionCase& c) {
  for_each_simd_target([&] { for_each_float([&](DType dtype) { check_results(c, make_inputs(c, dtype)); }); });
}

}  // namespace

TEST_CASE("attention equals the double loop for every length, mask and rectangle") {
  const std::vector<Index> lengths =
      interpreted() ? std::vector<Index>{0, 1, 33, 65, 140} : std::vector<Index>{0, 1, 2, 7, 31, 33, 64, 65, 200};
  for (const Index n : lengths) {
    for (const Padding padding : {Padding::none, Padding::prefix, Padding::scattered}) {
      for (const bool causal : {false, true}) {
        const Index batch = padding == Padding::none ? 1 : 3;
        check_everywhere({.batch = batch,
                          .queries = n,
                          .keys = n,
                          .width = 8,
                          .value_width = 8,
                          .causal = causal,
                          .padding = padding});
        check_everywhere(
            {.batch = batch, .heads = 1, .queries = n / 2 + 1, .keys = n, .causal = causal, .padding = padding});
        check_everywhere(
            {.batch = batch, .heads = 1, .queries = n + 40, .keys = n, .causal = causal, .padding = padding});
      }
    }
  }
}

// On the CPU up to 128 queries before twice as many keys have lanes of their own in backward and read keys where they
// lie, up to 4096 of them in forward.
TEST_CASE("attention of few queries equals the double loop around its limits") {
  std::vector<std::pair<Index, Index>> sizes = {{1, 2},    {1, 65},    {31, 62},   {32, 63},   {33, 140},
                                                {64, 200}, {127, 254}, {128, 256}, {128, 255}, {129, 260}};
  if (interpreted()) sizes = {{1, 65}, {33, 70}};
  for (const auto& [queries, keys] : sizes)
    for (const Padding padding : {Padding::none, Padding::prefix, Padding::scattered})
      for (const bool causal : {false, true})
        check_everywhere({.batch = padding == Padding::none ? 1 : 3,
                          .heads = 2,
                          .queries = queries,
                          .keys = keys,
                          .width = 5,
                          .value_width = 9,
                          .causal = causal,
                          .padding = padding});
  if (interpreted()) return;
  for (const Index keys : {4096, 4097})
    check_everywhere({.batch = 1, .heads = 1, .queries = 3, .keys = keys, .width = 4, .value_width = 4});
}

TEST_CASE("attention takes any head size") {
  const auto check = [](Index width, Index value_width) {
    check_everywhere({.batch = 1, .queries = 35, .keys = 70, .width = width, .value_width = value_width});
  };
  if (interpreted()) {  // every width that kernels are compiled for, rows of 16 bytes and others
    for (const auto& [width, value_width] : std::vector<std::pair<Index, Index>>{
             {1, 5}, {8, 24}, {17, 8}, {32, 32}, {3, 40}, {64, 16}, {17, 64}, {128, 72}, {5, 100}, {160, 24}, {9, 130}})
      check(width, value_width);
    return;
  }
  for (const Index width : {1, 3, 8, 16, 17, 32, 40, 64, 100, 128, 160})
    for (const Index value_width : {1, 5, 24, 32, 64, 72, 130}) check(width, value_width);
}

TEST_CASE("attention: padded queries are computed when asked for, and a scale is used as given") {
  check_everywhere({.batch = 3, .queries = 40, .keys = 40, .padding = Padding::prefix, .skip_padded_queries = false});
  check_everywhere({.batch = 3, .queries = 40, .keys = 40, .padding = Padding::scattered, .scale = 0.1});
  check_everywhere({.queries = 9, .keys = 9, .scale = -1.5});
}

TEST_CASE("attention computes the queries that a mask of their own names") {
  for (const Padding queries : {Padding::prefix, Padding::scattered}) {
    for (const Padding keys : {Padding::none, Padding::prefix, Padding::scattered}) {
      const AttentionCase c{
          .batch = 3, .heads = 1, .queries = 70, .keys = 9, .padding = keys, .query_padding = queries};
      check_everywhere(c);
      const Inputs clean = make_inputs(c, kFloat32);
      Inputs dirty = make_inputs(c, kFloat32);
      const Tensor real = c.query_mask().real.to(kCpu);
      for (Index b = 0; b < c.batch; ++b)
        for (Index i = 0; i < c.queries; ++i) {
          if (at(real, {b, i}) != 0) continue;
          for (Tensor* t : {&dirty.q, &dirty.dout}) {
            Tensor row = t->select(0, b).select(1, i);
            fill(row, std::numeric_limits<double>::quiet_NaN());
          }
        }
      CHECK(same_results(run(dirty, c.options()), run(clean, c.options())));
    }
  }
  check_everywhere({.batch = 3, .queries = 9, .keys = 9, .causal = true, .query_padding = Padding::scattered});
  check_everywhere({.batch = 2, .heads = 1, .queries = 600, .keys = 5, .query_padding = Padding::prefix});  // sections
}

TEST_CASE("attention of an empty batch or of no head") {
  check_everywhere({.batch = 0});
  check_everywhere({.heads = 0});
}

// Integers: products and logits are exact in float32, so that what is left is the error of the softmax.
TEST_CASE("attention survives logits that exp cannot hold") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const AttentionCase c{.batch = 1, .heads = 1, .queries = 33, .keys = 130, .scale = 1};
      Inputs in = make_inputs(c, dtype);
      in.q = integers(in.q.shape(), dtype, -20, 20, 9);
      in.k = integers(in.k.shape(), dtype, -20, 20, 10);
      check_results(c, in);
    });
  });
}

TEST_CASE("attention is as accurate at large logits as at small ones") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const double size : {1.0, 100.0, 1e4, 1e6, 8e6}) {
        CAPTURE(size);
        const AttentionCase c{.queries = 70, .keys = 130, .scale = 1};
        Inputs in = make_inputs(c, dtype);
        in.q = integers(in.q.shape(), dtype, -1, 1, 9);
        in.k = integers(in.k.shape(), dtype, -1, 1, 10);
        for (Index i = 0; i < c.queries; ++i) {  // a row's logits lie around size or -size, a few integers apart
          Tensor first = in.q.select(3, 0).select(2, i);
          fill(first, i % 2 == 0 ? 1 : -1);
        }
        Tensor first = in.k.select(3, 0);
        fill(first, size);
        check_results(c, in);
      }
    });
  });
}

TEST_CASE("attention reads views of any strides and writes [B, N, H, E] memory") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const AttentionCase c{.queries = 37, .keys = 37, .width = 6, .value_width = 6};
      const Inputs plain = make_inputs(c, dtype);
      Inputs views = plain;
      // q, k, v side by side in one [B, N, 3, H, E] tensor, as one projection would make them
      Tensor packed = empty({c.batch, c.queries, 3, c.heads, c.width}, dtype, device());
      Tensor* parts[] = {&views.q, &views.k, &views.v};
      for (int p = 0; p < 3; ++p) {
        Tensor part = packed.select(2, p).transpose(1, 2);
        copy(*parts[p], part);
        *parts[p] = part;
      }
      Tensor turned = empty({c.batch, c.heads, c.value_width, c.queries}, dtype, device()).transpose(2, 3);
      copy(plain.dout, turned);
      views.dout = turned;  // last stride is not 1
      CHECK(same_results(run(views, {}), run(plain, {})));
      const Results got = run(plain, {});
      CHECK(got.forward.out.transpose(1, 2).is_contiguous());
      for (const Tensor& t : {got.grads.dq, got.grads.dk, got.grads.dv}) {
        const Tensor positions = t.transpose(1, 2);  // [B, N, H, E], on a GPU of q, k and v together
        CHECK(device().is_cpu() == positions.is_contiguous());
        CHECK(positions.select(0, 0).select(0, 0).is_contiguous());
      }
    });
  });
}

TEST_CASE("attention does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    for (const Padding padding : {Padding::prefix, Padding::scattered}) {
      for (const bool causal : {false, true}) {
        const AttentionCase c{.batch = 3, .queries = 70, .keys = 70, .causal = causal, .padding = padding};
        const Inputs clean = make_inputs(c, kFloat32);
        Inputs dirty = make_inputs(c, kFloat32);
        const Tensor real = clean.mask.real.to(kCpu);
        const float nan = std::numeric_limits<float>::quiet_NaN();
        for (Index b = 0; b < c.batch; ++b)
          for (Index i = 0; i < c.keys; ++i) {
            if (at(real, {b, i}) != 0) continue;
            for (Tensor* t : {&dirty.q, &dirty.k, &dirty.v, &dirty.dout}) {
              Tensor row = t->select(0, b).select(1, i);
              fill(row, nan);
            }
            Tensor row = dirty.dlse.select(0, b).select(1, i);
            fill(row, nan);
          }
        CHECK(same_results(run(dirty, c.options()), run(clean, c.options())));
      }
    }
  });
}

// A block that owns 64 or 128 padded queries and walked over the keys would multiply these NaN by weights of 0.
TEST_CASE("attention: padded queries far behind the last real position cost no reading of keys, not even NaN") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const bool causal : {false, true}) {
        const AttentionCase c{.batch = 1, .queries = 256, .keys = 256, .causal = causal};
        Inputs in = make_inputs(c, dtype);
        in.mask = Mask::from_lengths(here(tensor<Index>({50}, {1})), c.keys);
        for (Tensor* t : {&in.k, &in.v}) {
          Tensor row = t->select(2, 7);
          fill(row, std::numeric_limits<double>::quiet_NaN());
        }
        const Results got = run(in, c.options());
        const auto far = [](const Tensor& t) { return t.slice(2, 128, 256); };
        CHECK_CLOSE(far(got.forward.out), zeros({1, 2, 128, 4}, kFloat64, kCpu), 0);
        CHECK_CLOSE(far(got.grads.dq), zeros({1, 2, 128, 4}, kFloat64, kCpu), 0);
      }
    });
  });
}

TEST_CASE("attention depends neither on the amount of padding nor on the rest of the batch") {
  const Index n = interpreted() ? 100 : 2400;
  const std::vector<Index> lengths = interpreted() ? std::vector<Index>{90, 50, 7} : std::vector<Index>{2100, 130, 41};
  for_each_simd_target([&] {
    for (const bool causal : {false, true}) {
      const AttentionCase c{.batch = 3, .heads = 1, .queries = n, .keys = n, .causal = causal};
      Inputs in = make_inputs(c, kFloat32);
      in.mask = Mask::from_lengths(here(tensor(lengths, {3})), n);
      const Results all = run(in, c.options());
      for (Index sample = 0; sample < 3; ++sample) {
        const Index length = lengths[static_cast<std::size_t>(sample)];
        const auto cut = [&](const Tensor& t) { return t.slice(0, sample, sample + 1).slice(2, 0, length); };
        const Inputs alone{cut(in.q), cut(in.k), cut(in.v), cut(in.dout), cut(in.dlse).contiguous(), {}};
        const Results one = run(alone, c.options());
        CHECK(same_bits(cut(all.forward.out), one.forward.out));
        CHECK(same_bits(cut(all.forward.lse), one.forward.lse));
        CHECK(same_bits(cut(all.grads.dq), one.grads.dq));
        CHECK(same_bits(cut(all.grads.dk), one.grads.dk));
        CHECK(same_bits(cut(all.grads.dv), one.grads.dv));
      }
    }
  });
}

TEST_CASE("attention gives the same bits for any number of threads") {
  // 2500 keys are two chunks, which one head may work on side by side
  for (const Index n : interpreted() ? std::vector<Index>{70, 140} : std::vector<Index>{700, 2500}) {
    for (const bool causal : {false, true}) {
      const AttentionCase c{.batch = n == 700 ? 3 : 1, .heads = 1, .queries = n, .keys = n, .causal = causal};
      const Inputs in = make_inputs(c, kFloat32);
      CHECK(same_for_any_thread_count([&] { return run(in, c.options()).all(); }));
    }
  }
}

// On CUDA the long side of such rectangles is cut into sections of 512 rows.
const std::vector<AttentionCase> kLongRectangles = {
    {.batch = 2, .heads = 1, .queries = 33, .keys = 1100, .width = 8, .value_width = 12, .padding = Padding::prefix},
    {.batch = 1, .heads = 2, .queries = 20, .keys = 530, .width = 40, .value_width = 3, .padding = Padding::scattered},
    {.batch = 1, .heads = 2, .queries = 1030, .keys = 17, .width = 12, .value_width = 8},
    {.batch = 1, .heads = 1, .queries = 520, .keys = 64, .width = 3, .value_width = 70, .padding = Padding::scattered}};

TEST_CASE("attention of few queries and many keys, and the other way round") {
  for (const AttentionCase& c : kLongRectangles) {
    check_results(c, make_inputs(c, kFloat32));
    const Inputs in = make_inputs(c, kFloat32);
    if (c.keys > 600 || !interpreted()) CHECK(same_for_any_thread_count([&] { return run(in, c.options()).all(); }));
  }
}

TEST_CASE("attention of few queries and many keys depends neither on the amount of padding nor on the batch") {
  for (const Index length : {512, 700}) {
    const AttentionCase c{.batch = 2, .heads = 1, .queries = 12, .keys = 1100, .width = 8, .value_width = 8};
    Inputs in = make_inputs(c, kFloat32);
    in.mask = Mask::from_lengths(here(tensor<Index>({1100, length}, {2})), 1100);
    const Results all = run(in, c.options());
    const auto sample = [](const Tensor& t) { return t.slice(0, 1, 2); };
    const auto cut = [&](const Tensor& t) { return sample(t).slice(2, 0, length); };
    const Inputs alone{sample(in.q), cut(in.k), cut(in.v), sample(in.dout), sample(in.dlse).contiguous(), {}};
    const Results one = run(alone, c.options());
    CHECK(same_bits(sample(all.forward.out), one.forward.out));
    CHECK(same_bits(sample(all.forward.lse), one.forward.lse));
    CHECK(same_bits(sample(all.forward.lse_rest), one.forward.lse_rest));
    CHECK(same_bits(sample(all.grads.dq), one.grads.dq));
    CHECK(same_bits(cut(all.grads.dk), one.grads.dk));
    CHECK(same_bits(cut(all.grads.dv), one.grads.dv));
  }
}

TEST_CASE("attention is linear in the values") {
  const AttentionCase c{.queries = 50, .keys = 80};
  const Inputs in = make_inputs(c, kFloat64);
  const Tensor other = normal(in.v.shape(), kFloat64, 17);
  const auto plus_three = [](const Tensor& x, const Tensor& y) {  // x + 3 y, on the CPU
    Tensor sum = doubles(x).clone();
    const Tensor y_values = doubles(y);
    for (Index i = 0; i < sum.size(); ++i) sum.data<double>()[i] += 3 * y_values.data<double>()[i];
    return sum;
  };
  const Tensor a = kernels::attention(in.q, in.k, in.v).out, b = kernels::attention(in.q, in.k, other).out;
  const Tensor sum = here(plus_three(in.v, other));
  CHECK_CLOSE(kernels::attention(in.q, in.k, sum).out, plus_three(a, b), dot_tolerance(kFloat64, 80));
}

TEST_CASE("attention holds nothing quadratic") {
  const Index n = interpreted() ? 512 : 4096;  // a float32 [B, H, N, N] would have 2 MiB or 512 MiB
  const AttentionCase c{
      .batch = interpreted() ? 1 : 4, .queries = n, .keys = n, .width = 32, .value_width = 32, .causal = interpreted()};
  const Inputs in = make_inputs(c, kFloat32);
  const int threads = num_threads();
  set_num_threads(4);  // each thread packs a head for itself
  reset_peak_memory(device());
  const std::size_t before = memory_stats(device()).current_bytes;
  const Results got = run(in, c.options());
  const std::size_t results = memory_stats(device()).current_bytes - before;
  const std::size_t beyond = memory_stats(device()).peak_bytes - before - results;
  set_num_threads(threads);
  const std::size_t rows = static_cast<std::size_t>(c.batch * c.heads * n);
  CHECK(results == sizeof(float) * rows * (4 * 32 + 2));  // out, dq, dk, dv and both lse
  CHECK(beyond < (device().is_cpu() ? std::size_t{64} << 20 : 2 * sizeof(float) * rows));
}

TEST_CASE("attention names the argument that does not fit") {
  const auto t = [](const Shape& shape, DType dtype = kFloat32) { return zeros(shape, dtype, kCpu); };
  const Tensor q = t({2, 3, 5, 4}), k = t({2, 3, 7, 4}), v = t({2, 3, 7, 6});
  CHECK_THROWS_WITH_AS(kernels::attention(t({2, 3, 5}), k, v), "attention: q is [2, 3, 5] float32 cpu, expected rank 4",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      kernels::attention(q, t({2, 3, 7, 5}), v),
      "attention: k is [2, 3, 7, 5] float32 cpu, expected [2, 3, 7, 4] = [B, H, Nk, E] for q [2, 3, 5, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(
      kernels::attention(q, k, t({2, 3, 8, 6})),
      "attention: v is [2, 3, 8, 6] float32 cpu, expected [2, 3, 7, Ev >= 1] = [B, H, Nk, Ev] for k [2, 3, 7, 4]",
      ShapeError);
  CHECK_THROWS_AS(kernels::attention(q, k, t({2, 3, 7, 0})), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::attention(t({1, 1, 2, 0}), t({1, 1, 2, 0}), t({1, 1, 2, 1})),
                       "attention: q is [1, 1, 2, 0] float32 cpu, expected at least one feature per head", ShapeError);
  CHECK_THROWS_WITH_AS(kernels::attention(q, k, t({2, 3, 7, 6}, kFloat64)),
                       "attention: v is [2, 3, 7, 6] float64 cpu, expected float32 like q", DTypeError);
  CHECK_THROWS_AS(kernels::attention(t({1, 1, 2, 2}, kInt64), t({1, 1, 2, 2}, kInt64), t({1, 1, 2, 2}, kInt64)),
                  DTypeError);
  CHECK_THROWS_AS(kernels::attention(q, k, v, Mask::from_lengths(tensor<Index>({5, 5}, {2}), 5)), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::attention(q, k, v, {}, {.scale = std::numeric_limits<double>::infinity()}),
                       "attention: scale is inf, expected a finite number", Error);
  if (!device().is_cpu())
    CHECK_THROWS_AS(kernels::attention(here(q), here(k), here(v), Mask::from_lengths(tensor<Index>({5, 5}, {2}), 7)),
                    DeviceError);
  const AttentionOutput f = kernels::attention(q, k, v);
  CHECK_THROWS_WITH_AS(kernels::attention_grad(t({2, 3, 5, 5}), {}, q, k, v, f),
                       "attention_grad: dout is [2, 3, 5, 5] float32 cpu, expected shape [2, 3, 5, 6]", ShapeError);
  CHECK_THROWS_AS(kernels::attention_grad(f.out, t({2, 3, 4}), q, k, v, f), ShapeError);
}

}  // namespace subquad::test
