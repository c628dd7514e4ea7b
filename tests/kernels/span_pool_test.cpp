#include "subquad/kernels/span_pool/span_pool.h"

#include <cmath>
#include <limits>

#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/kernels/span_cases.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::SpanPool;
using kernels::SpanPooled;

constexpr SpanPool kPools[] = {SpanPool::max, SpanPool::mean, SpanPool::sum, SpanPool::log_sum_exp};

struct Pooled {
  Tensor out, arg, dx;
};

Pooled slow_pool(const Tensor& x, const Tensor& spans, SpanPool pool, const Mask& mask, const Tensor& dout) {
  const Tensor in = doubles(x), up = doubles(dout);
  const Index batch = in.dim(0), n = in.dim(1), width = in.dim(2), count = spans.dim(1);
  Pooled want{zeros({batch, count, width}, kFloat64, kCpu), full({batch, count, width}, -1, kInt64, kCpu),
              zeros_like(in)};
  for (Index b = 0; b < batch; ++b)
    for (Index s = 0; s < count; ++s)
      for (Index c = 0; c < width; ++c) {
        const Index* bounds = spans.data<Index>() + 2 * ((spans.dim(0) == 1 ? 0 : b * count) + s);
        std::vector<Index> members;
        for (Index i = 0; i < n; ++i)
          if (bounds[0] <= i && i < bounds[1] && is_real(mask, b, i, n)) members.push_back(i);
        const auto value = [&](Index i) { return in.data<double>()[(b * n + i) * width + c]; };
        const auto dx = [&](Index i) -> double& { return want.dx.data<double>()[(b * n + i) * width + c]; };
        const Index at = (b * count + s) * width + c;
        const double g = up.data<double>()[at], size = static_cast<double>(members.size());
        double sum = 0, exponentials = 0;
        Index best = -1;
        for (const Index i : members) {
          sum += value(i);
          exponentials += std::exp(value(i));
          if (best < 0 || value(i) > value(best)) best = i;
        }
        double& out = want.out.data<double>()[at];
        if (pool == SpanPool::log_sum_exp) out = std::log(exponentials);
        if (members.empty()) continue;
        want.arg.data<Index>()[at] = best;
        if (pool == SpanPool::max) out = value(best);
        if (pool == SpanPool::mean) out = sum / size;
        if (pool == SpanPool::sum) out = sum;
        if (pool == SpanPool::max) dx(best) += g;
        for (const Index i : members) {
          if (pool == SpanPool::mean) dx(i) += g / size;
          if (pool == SpanPool::sum) dx(i) += g;
          if (pool == SpanPool::log_sum_exp) dx(i) += g * std::exp(value(i)) / exponentials;
        }
      }
  return want;
}

}  // namespace

TEST_CASE("span_pool equals the slow loop: every reduction, table and mask") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const auto& [n, width] : std::vector<std::pair<Index, Index>>{{1, 1}, {9, 5}, {23, 16}, {40, 33}})
        for (const Tensor& spans : span_tables(n))
          for (const Mask& mask : span_masks(n))
            for (const SpanPool pool : kPools) {
              CAPTURE(n);
              CAPTURE(static_cast<int>(pool));
              const Tensor x = normal({2, n, width}, dtype, 1), dout = normal({2, spans.dim(1), width}, dtype, 2);
              const Pooled want = slow_pool(x, spans, pool, mask, dout);
              const Tensor table = here(spans);
              const Mask real = mask.to(device());
              const SpanPooled got = kernels::span_pool(x, table, pool, real);
              const double tolerance = dot_tolerance(dtype, 2 * n);
              CHECK_CLOSE(got.out, want.out, tolerance);
              if (pool == SpanPool::max) CHECK(same_bits(got.arg.to(kCpu), want.arg));
              CHECK_CLOSE(kernels::span_pool_grad(dout, x, table, pool, got, real), want.dx, tolerance);
            }
    });
  });
}

// Of two tensors at once: the bits of each alone, added to what stands in dx.
TEST_CASE("span_pool of two tensors, with gradients that are added to others") {
  for_each_float([](DType dtype) {
    const Index n = 23, width = 6;
    for (const Tensor& spans : {kernels::segment_spans(n, 5, device()), kernels::level_spans(n, device())})
      for (const Mask& mask : span_masks(n))
        for (const SpanPool pool : kPools) {
          const Mask real = mask.to(device());
          const std::array<Tensor, 2> xs = {normal({2, n, width}, dtype, 1), normal({2, n, width}, dtype, 2)};
          const std::array<SpanPooled, 2> got = kernels::span_pool(xs, spans, pool, real);
          std::array<kernels::SpanPoolGrad, 2> grads;
          std::array<Tensor, 2> want;
          for (std::size_t i = 0; i < 2; ++i) {
            const SpanPooled alone = kernels::span_pool(xs[i], spans, pool, real);
            CHECK(same_bits(got[i].out, alone.out));
            const Tensor dout = normal(got[i].out.shape(), dtype, 3 + i), before = normal(xs[i].shape(), dtype, 5 + i);
            want[i] = kernels::add(before, kernels::span_pool_grad(dout, xs[i], spans, pool, alone, real));
            grads[i] = {dout, xs[i], got[i], before.clone()};
          }
          kernels::span_pool_add_grads(grads, spans, pool, real);
          for (std::size_t i = 0; i < 2; ++i) CHECK_CLOSE(grads[i].dx, want[i], dot_tolerance(dtype, 4));
        }
  });
}

TEST_CASE("span_pool: equal maxima go to the first, empty batches and strided rows work") {
  const Tensor x = full({1, 6, 2}, 3, kFloat32, device()), spans = kernels::segment_spans(6, 3, device());
  const SpanPooled got = kernels::span_pool(x, spans, SpanPool::max);
  CHECK(same_bits(got.arg.to(kCpu), tensor<Index>({0, 0, 3, 3}, {1, 2, 2})));
  CHECK(kernels::span_pool(zeros({0, 6, 2}, kFloat32, device()), spans, SpanPool::max).out.shape() == Shape{0, 2, 2});
  CHECK(kernels::span_pool(zeros({2, 0, 2}, kFloat32, device()), kernels::segment_spans(0, 3, device()), SpanPool::sum)
            .out.size() == 0);
  const Tensor wide = normal({2, 6, 10}, kFloat32, 1);
  for (const Tensor& view : {wide.slice(2, 3, 7), wide.transpose(1, 2)})
    CHECK(same_bits(kernels::span_pool(view, spans, SpanPool::mean).out,
                    kernels::span_pool(view.contiguous(), spans, SpanPool::mean).out));
}

TEST_CASE("span_pool reads no padded position, not even NaN") {
  const Index n = 23;
  for (const Mask& mask : span_masks(n)) {
    if (!mask.defined()) continue;
    const Tensor clean = normal({2, n, 7}, kFloat32, 1);
    Tensor dirty = clean.clone();
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < n; ++i) {
        Tensor row = dirty.select(0, b).select(0, i);
        if (!is_real(mask, b, i, n)) fill(row, std::numeric_limits<double>::quiet_NaN());
      }
    const Mask real = mask.to(device());
    for (const SpanPool pool : kPools) {
      const Tensor spans = kernels::level_spans(n, device());
      const SpanPooled a = kernels::span_pool(clean, spans, pool, real),
                       b = kernels::span_pool(dirty, spans, pool, real);
      CHECK(same_bits(a.out, b.out));
      CHECK(same_bits(kernels::span_pool_grad(a.out, clean, spans, pool, a, real),
                      kernels::span_pool_grad(a.out, dirty, spans, pool, b, real)));
    }
  }
}

TEST_CASE("span_pool: log_sum_exp of infinities, with the gradients that are left") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      const double inf = std::numeric_limits<double>::infinity(), e = std::exp(1);
      struct Pair {
        double a, b, out, da, db;
      };
      const std::vector<Pair> pairs = {{-inf, -inf, -inf, 0, 0}, {1, inf, inf, 0, 0},
                                       {inf, 1, inf, 0, 0},      {inf, inf, inf, 0, 0},
                                       {-inf, inf, inf, 0, 0},   {-inf, 1, 1, 0, 3},
                                       {1, -inf, 1, 3, 0},       {0, 1, std::log(1 + e), 3 / (1 + e), 3 * e / (1 + e)}};
      const Index channels = static_cast<Index>(pairs.size());
      for (const Index width : {channels, 3 * channels + 1}) {  // whole vectors, and a rest
        Tensor x = zeros({1, 2, width}, kFloat64, kCpu), out = zeros({1, 1, width}, kFloat64, kCpu), dx = zeros_like(x);
        for (Index c = 0; c < width; ++c) {
          const Pair& p = pairs[static_cast<std::size_t>(c % channels)];
          x.data<double>()[c] = p.a, x.data<double>()[width + c] = p.b;
          dx.data<double>()[c] = p.da, dx.data<double>()[width + c] = p.db;
          out.data<double>()[c] = p.out;
        }
        const Tensor values = here(x.to(dtype)), spans = kernels::segment_spans(2, 2, device()),
                     dout = full({1, 1, width}, 3, dtype, device());
        const SpanPooled got = kernels::span_pool(values, spans, SpanPool::log_sum_exp);
        CHECK_CLOSE(got.out, out, dot_tolerance(dtype, 4));
        CHECK_CLOSE(kernels::span_pool_grad(dout, values, spans, SpanPool::log_sum_exp, got), dx,
                    dot_tolerance(dtype, 4));
      }
    });
  });
}

// Spans of more than 256 are shared by the warps of a block; a mask that is no prefix, and tables of every kind.
TEST_CASE("span_pool of long spans") {
  const Index n = 700;
  Tensor holes = full({2, n}, 1, kBool, kCpu);
  for (Index i = 0; i < n; i += 3) holes.data<bool>()[i] = false;
  const Tensor table = tensor<Index>({0, 700, 100, 700, 3, 259, 699, 5000, 20, 21}, {1, 5, 2});
  for (const auto& [width, dtype] : std::vector<std::pair<Index, DType>>{{36, kFloat32}, {6, kFloat32}, {9, kFloat64}})
    for (const Tensor& spans : {table, kernels::level_spans(n, kCpu)})
      for (const SpanPool pool : kPools) {
        const Tensor x = normal({2, n, width}, dtype, 1), dout = normal({2, spans.dim(1), width}, dtype, 2);
        const Mask mask = Mask::from_bool(holes);
        const Pooled want = slow_pool(x, spans, pool, mask, dout);
        const Mask real = mask.to(device());
        const SpanPooled got = kernels::span_pool(x, here(spans), pool, real);
        CHECK_CLOSE(got.out, want.out, dot_tolerance(dtype, 2 * n));
        if (pool == SpanPool::max) CHECK(same_bits(got.arg.to(kCpu), want.arg));
        CHECK_CLOSE(kernels::span_pool_grad(dout, x, here(spans), pool, got, real), want.dx,
                    dot_tolerance(dtype, 2 * n));
        if (interpreted() && pool == SpanPool::mean) break;
      }
}

// On CUDA blocks share the spans of level_spans that are longer than 1024.
TEST_CASE("span_pool of levels with long spans") {
  const Index n = 2100;
  Tensor holes = full({2, n}, 1, kBool, kCpu);
  for (Index i = 0; i < 2 * n; i += 3) holes.data<bool>()[i] = false;
  for (Index i = 2048; i < n; ++i) holes.data<bool>()[i] = false;  // a span without a real position
  const Mask mask = Mask::from_bool(holes), real = mask.to(device());
  const Tensor spans = kernels::level_spans(n, kCpu), table = here(spans);
  for (const auto& [width, dtype] : std::vector<std::pair<Index, DType>>{{20, kFloat32}, {17, kFloat64}})
    for (const SpanPool pool : kPools) {
      CAPTURE(static_cast<int>(pool));
      const Tensor x = normal({2, n, width}, dtype, 1), dout = normal({2, spans.dim(1), width}, dtype, 2);
      const Pooled want = slow_pool(x, spans, pool, mask, dout);
      const std::array<SpanPooled, 2> got = kernels::span_pool({x, x}, table, pool, real);
      for (const SpanPooled& one : got) {
        CHECK_CLOSE(one.out, want.out, dot_tolerance(dtype, 2 * n));
        if (pool == SpanPool::max) CHECK(same_bits(one.arg.to(kCpu), want.arg));
      }
      CHECK(same_bits(got[0].out, got[1].out));
      if (!interpreted() || pool == SpanPool::max)
        CHECK_CLOSE(kernels::span_pool_grad(dout, x, table, pool, got[0], real), want.dx, dot_tolerance(dtype, 2 * n));
    }
}

TEST_CASE("span_pool gives the same bits for any number of threads, and whatever padding follows") {
  const Index n = interpreted() ? 600 : 5000;
  const Tensor x = normal({2, n, 24}, kFloat32, 1), spans = kernels::level_spans(n, device());
  const Mask part = Mask::from_lengths(tensor<Index>({400, 300}, {2}), n).to(device());
  const Mask less = Mask::from_lengths(tensor<Index>({400, 300}, {2}), 450).to(device());
  const Tensor same = tensor<Index>({0, 300, 64, 1000, 128, 256}, {1, 3, 2});
  for (const SpanPool pool : kPools) {
    const SpanPooled f = kernels::span_pool(x, here(same), pool, part);
    const Tensor cut = x.slice(1, 0, 450).contiguous();
    const SpanPooled g = kernels::span_pool(cut, here(same), pool, less);
    CHECK(same_bits(f.out, g.out));
    CHECK(same_bits(kernels::span_pool_grad(f.out, x, here(same), pool, f, part).slice(1, 0, 450),
                    kernels::span_pool_grad(g.out, cut, here(same), pool, g, less)));
  }
  for (const SpanPool pool : kPools)
    CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
      const SpanPooled f = kernels::span_pool(x, spans, pool);
      return {f.out, kernels::span_pool_grad(f.out, x, spans, pool, f)};
    }));
}

TEST_SUITE("cuda") {  // where nobody looks at a table's numbers
  TEST_CASE("span_pool of a table that makes no sense reads nothing that is not there") {
    const Tensor x = normal({1, 6, 3}, kFloat32, 1);
    const Tensor spans = tensor<Index>({-5, 3, 5, 2, Index{1} << 62, 7, 4, Index{1} << 62}, {1, 4, 2});
    const Tensor clipped = tensor<Index>({0, 3, 0, 0, 0, 0, 4, 6}, {1, 4, 2});
    for (const SpanPool pool : kPools) {
      const SpanPooled got = kernels::span_pool(x, here(spans), pool),
                       want = kernels::span_pool(x, here(clipped), pool);
      CHECK(same_bits(got.out, want.out));
      kernels::span_pool_grad(want.out, x, here(spans), pool, got);
    }
  }
}

TEST_CASE("span_pool names the argument that does not fit") {
  const Device d = device();
  const auto place = d.is_cpu() ? "cpu" : "cuda:0";
  const Tensor x = zeros({2, 6, 3}, kFloat32, d), spans = kernels::segment_spans(6, 3, d);
  CHECK_THROWS_WITH_AS(kernels::span_pool(zeros({6, 3}, kFloat32, d), spans, SpanPool::max),
                       cat("span_pool: x is [6, 3] float32 ", place, ", expected rank 3").c_str(), ShapeError);
  CHECK_THROWS_AS(kernels::span_pool(zeros({2, 6, 3}, kInt64, d), spans, SpanPool::max), DTypeError);
  CHECK_THROWS_AS(kernels::span_pool(x, zeros({3, 2, 2}, kInt64, d), SpanPool::max), ShapeError);
  CHECK_THROWS_AS(kernels::span_pool(x, spans, SpanPool::max, Mask::from_lengths(tensor<Index>({5, 5}, {2}), 5).to(d)),
                  ShapeError);
  const SpanPooled f = kernels::span_pool(x, spans, SpanPool::max);
  CHECK_THROWS_WITH_AS(kernels::span_pool_grad(x, x, spans, SpanPool::max, f),
                       cat("span_pool_grad: dout is [2, 6, 3] float32 ", place, ", expected shape [2, 2, 3]").c_str(),
                       ShapeError);
}

}  // namespace subquad::test
