#include "subquad/kernels/span_attention/span_attention.h"

#include <cmath>
#include <limits>

#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/tests/kernels/span_cases.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::SpanAttentionGrads;
using kernels::SpanAttentionOptions;
using kernels::SpanAttentionOutput;

struct Inputs {
  Tensor q, k, v, dout;
};
Inputs make_inputs(Index n, Index spans, Index width, Index value_width, DType dtype, Index batch = 2) {
  return {normal({batch, 2, spans, width}, dtype, 1), normal({batch, 2, n, width}, dtype, 2),
          normal({batch, 2, n, value_width}, dtype, 3), normal({batch, 2, spans, value_width}, dtype, 4)};
}

struct Expected {
  Tensor out, lse, dq, dk, dv;
};

Expected slow(const Inputs& in, const Tensor& spans, const Mask& mask) {
  const Tensor q = doubles(in.q), k = doubles(in.k), v = doubles(in.v), up = doubles(in.dout);
  const Index batch = k.dim(0), heads = k.dim(1), n = k.dim(2), count = q.dim(2), width = q.dim(3), values = v.dim(3);
  Expected want{zeros_like(up), zeros({batch, heads, count}, kFloat64, kCpu), zeros_like(q), zeros_like(k),
                zeros_like(v)};
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  for (Index head = 0; head < batch * heads; ++head)
    for (Index s = 0; s < count; ++s) {
      const Index b = head / heads, at = head * count + s;
      const Index* bounds = spans.data<Index>() + 2 * ((spans.dim(0) == 1 ? 0 : b * count) + s);
      std::vector<Index> members;
      std::vector<double> p;
      double sum = 0, top = -1e300;
      for (Index j = 0; j < n; ++j) {
        if (j < bounds[0] || j >= bounds[1] || !is_real(mask, b, j, n)) continue;
        double logit = 0;
        for (Index e = 0; e < width; ++e)
          logit += scale * q.data<double>()[at * width + e] * k.data<double>()[(head * n + j) * width + e];
        members.push_back(j);
        p.push_back(logit);
        top = std::max(top, logit);
      }
      for (double& x : p) sum += x = std::exp(x - top);
      want.lse.data<double>()[at] = top + std::log(sum);
      double delta = 0;
      for (std::size_t a = 0; a < p.size(); ++a) {
        p[a] /= sum;
        for (Index c = 0; c < values; ++c) {
          const double share = p[a] * v.data<double>()[(head * n + members[a]) * values + c];
          want.out.data<double>()[at * values + c] += share;
          delta += share * up.data<double>()[at * values + c];
        }
      }
      for (std::size_t a = 0; a < p.size(); ++a) {
        const Index row = head * n + members[a];
        double ds = -delta;
        for (Index c = 0; c < values; ++c) {
          ds += up.data<double>()[at * values + c] * v.data<double>()[row * values + c];
          want.dv.data<double>()[row * values + c] += p[a] * up.data<double>()[at * values + c];
        }
        ds *= p[a] * scale;
        for (Index e = 0; e < width; ++e) {
          want.dq.data<double>()[at * width + e] += ds * k.data<double>()[row * width + e];
          want.dk.data<double>()[row * width + e] += ds * q.data<double>()[at * width + e];
        }
      }
    }
  return want;
}

}  // namespace

TEST_CASE("span_attention equals the slow loop for every table, mask and head size") {
  for_each_simd_target([] {
    for_each_float([](DType dtype) {
      for (const auto& [n, width, values] :
           std::vector<std::tuple<Index, Index, Index>>{{1, 1, 1}, {9, 5, 3}, {23, 16, 8}, {40, 33, 20}})
        for (const Tensor& spans : span_tables(n))
          for (const Mask& mask : span_masks(n)) {
            CAPTURE(n);
            const Inputs in = make_inputs(n, spans.dim(1), width, values, dtype);
            const Expected want = slow(in, spans, mask);
            const Tensor table = here(spans);
            const Mask real = mask.to(device());
            const SpanAttentionOutput got = kernels::span_attention(in.q, in.k, in.v, table, real);
            const SpanAttentionGrads grads = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, table, got, real);
            const double tolerance = dot_tolerance(dtype, 4 * std::max(n, width));
            CHECK_CLOSE(got.out, want.out, tolerance);
            CHECK_CLOSE(got.lse, want.lse, tolerance);
            CHECK_CLOSE(grads.dq, want.dq, tolerance);
            CHECK_CLOSE(grads.dk, want.dk, tolerance);
            CHECK_CLOSE(grads.dv, want.dv, tolerance);
          }
    });
  });
}

TEST_CASE("span_attention's gradients of keys and values can be added to others") {
  for_each_float([](DType dtype) {
    const Index n = 23;
    for (const Tensor& table : {kernels::segment_spans(n, 5, device()), kernels::level_spans(n, device())})
      for (const Mask& mask : span_masks(n))
        for (const Index width : {8, 3}) {
          const Inputs in = make_inputs(n, table.dim(1), width, 4, dtype);
          const Mask real = mask.to(device());
          const SpanAttentionOutput out = kernels::span_attention(in.q, in.k, in.v, table, real);
          const SpanAttentionGrads grads = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, table, out, real);
          const Tensor dk_before = normal(in.k.shape(), dtype, 8), dv_before = normal(in.v.shape(), dtype, 9);
          Tensor dk = dk_before.clone(), dv = dv_before.transpose(1, 2).contiguous().transpose(1, 2);
          const Tensor dq = kernels::span_attention_add_grads(in.dout, in.q, in.k, in.v, table, out, dk, dv, real);
          CHECK(same_bits(dq, grads.dq));
          CHECK_CLOSE(dk, kernels::add(dk_before, grads.dk), dot_tolerance(dtype, 4));
          CHECK_CLOSE(dv, kernels::add(dv_before, grads.dv), dot_tolerance(dtype, 4));
        }
  });
}

// On the CPU a task takes some 256 positions: here the gaps between spans are several tasks', and so are their ends.
TEST_CASE("span_attention of many spans writes every gradient once, gaps and all") {
  const Index n = 700;
  std::vector<Index> gaps;
  for (Index begin = 3; begin < n - 40; begin += 10) gaps.insert(gaps.end(), {begin, begin + begin % 9});
  for (const DType dtype : {kFloat32, kFloat64})
    for (const Tensor& spans :
         {kernels::segment_spans(n, 4, kCpu), tensor<Index>(gaps, {1, static_cast<Index>(gaps.size()) / 2, 2})})
      for (const Mask& mask : span_masks(n)) {
        const Inputs in = make_inputs(n, spans.dim(1), 24, 40, dtype);
        const Expected want = slow(in, spans, mask);
        const Mask real = mask.to(device());
        const SpanAttentionOutput got = kernels::span_attention(in.q, in.k, in.v, here(spans), real);
        const SpanAttentionGrads grads =
            kernels::span_attention_grad(in.dout, in.q, in.k, in.v, here(spans), got, real);
        const double tolerance = dot_tolerance(dtype, 160);
        CHECK_CLOSE(got.out, want.out, tolerance);
        CHECK_CLOSE(grads.dq, want.dq, tolerance);
        CHECK_CLOSE(grads.dk, want.dk, tolerance);
        CHECK_CLOSE(grads.dv, want.dv, tolerance);
      }
}

// Spans of more than 256 are shared by the warps of a block, more than 64 columns by blocks; a mask that is no prefix.
TEST_CASE("span_attention of long spans and wide heads") {
  const Index n = 600;
  Tensor holes = full({2, n}, 1, kBool, kCpu);
  for (Index i = 0; i < n; i += 3) holes.data<bool>()[i] = false;
  const Tensor spans = tensor<Index>({0, 600, 100, 400, 3, 259, 598, 5000, 20, 21}, {1, 5, 2});
  for (const auto& [width, values, dtype] : std::vector<std::tuple<Index, Index, DType>>{
           {4, 72, kFloat32}, {68, 8, kFloat32}, {3, 66, kFloat32}, {65, 3, kFloat64}}) {
    const Inputs in = make_inputs(n, spans.dim(1), width, values, dtype);
    const Mask mask = Mask::from_bool(holes), real = mask.to(device());
    const Expected want = slow(in, spans, mask);
    const SpanAttentionOutput got = kernels::span_attention(in.q, in.k, in.v, here(spans), real);
    const SpanAttentionGrads grads = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, here(spans), got, real);
    const double tolerance = dot_tolerance(dtype, 4 * n);
    CHECK_CLOSE(got.out, want.out, tolerance);
    CHECK_CLOSE(got.lse, want.lse, tolerance);
    CHECK_CLOSE(grads.dq, want.dq, tolerance);
    CHECK_CLOSE(grads.dk, want.dk, tolerance);
    CHECK_CLOSE(grads.dv, want.dv, tolerance);
    const SpanAttentionGrads again = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, here(spans), got, real);
    CHECK(same_bits(again.dq, grads.dq));
    CHECK(same_bits(again.dk, grads.dk));
    CHECK(same_bits(again.dv, grads.dv));
  }
}

// On CUDA blocks share the spans of level_spans that are longer than 1024, and the search for runs in more than 4096.
TEST_CASE("span_attention of levels with long spans, three times with the same bits") {
  struct Levels {
    Index n, width, values;
    DType dtype;
  };
  for (const Levels& c : {Levels{4200, 16, 16, kFloat32}, {2100, 66, 34, kFloat64}}) {
    const Tensor spans = kernels::level_spans(c.n, kCpu), table = here(spans);
    const Inputs in = make_inputs(c.n, spans.dim(1), c.width, c.values, c.dtype, 1);
    Tensor holes = full({1, c.n}, 1, kBool, kCpu);
    for (Index i = 0; i < c.n; i += 3) holes.data<bool>()[i] = false;
    for (Index i = 2048; i < c.n; ++i) holes.data<bool>()[i] = false;  // spans without a real position
    const Mask mask = Mask::from_bool(holes), real = mask.to(device());
    const Expected want = slow(in, spans, mask);
    const auto run = [&]() -> std::vector<Tensor> {
      const SpanAttentionOutput f = kernels::span_attention(in.q, in.k, in.v, table, real);
      const SpanAttentionGrads g = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, table, f, real);
      return {f.out, f.lse, g.dq, g.dk, g.dv};
    };
    const std::vector<Tensor> got = run(), all = {want.out, want.lse, want.dq, want.dk, want.dv};
    for (std::size_t i = 0; i < got.size(); ++i) CHECK_CLOSE(got[i], all[i], dot_tolerance(c.dtype, 4 * c.n));
    for (int again = 0; again < 2; ++again) {
      const std::vector<Tensor> same = run();
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], same[i]));
    }
  }
}

TEST_CASE("span_attention of a short span has the same bits whatever its neighbours are") {
  for_each_simd_target([] {
    const Index n = 60;
    const std::vector<Index> bounds = {0, 2, 2, 2, 2, 5, 5, 20, 20, 21, 21, 37, 37, 54, 54, 60, 3, 18, 1, 2};
    const Tensor spans = here(tensor(bounds, {1, 10, 2}));
    const Inputs in = make_inputs(n, 10, 20, 7, kFloat32);
    const SpanAttentionOutput all = kernels::span_attention(in.q, in.k, in.v, spans);
    const Tensor dq = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, spans, all).dq;
    for (Index s = 0; s < 10; ++s) {
      const auto own = [&](const Tensor& t) { return t.slice(2, s, s + 1).contiguous(); };
      const Tensor span = spans.slice(1, s, s + 1).contiguous();
      const SpanAttentionOutput alone = kernels::span_attention(own(in.q), in.k, in.v, span);
      CHECK(same_bits(alone.out, own(all.out)));
      CHECK(same_bits(alone.lse, own(all.lse)));
      CHECK(same_bits(kernels::span_attention_grad(own(in.dout), own(in.q), in.k, in.v, span, alone).dq, own(dq)));
    }
  });
}

TEST_CASE("span_attention of one span is attention of one query, at any size of logits") {
  const Tensor spans = kernels::segment_spans(500, 500, device());
  Inputs in = make_inputs(500, 1, 8, 8, kFloat64);
  for (const double size : {1.0, 1e5}) {
    Tensor larger = in.q.to(kCpu).clone();
    for (double& x : larger.span<double>()) x *= size;
    in.q = here(larger);
    CHECK_CLOSE(kernels::span_attention(in.q, in.k, in.v, spans).out, kernels::attention(in.q, in.k, in.v).out,
                dot_tolerance(kFloat64, 500));
  }
}

TEST_CASE("span_attention's gradients are as accurate at large logits as at small ones") {
  for_each_simd_target([] {
    const Tensor spans = kernels::segment_spans(40, 8, kCpu), table = here(spans);
    Inputs in = make_inputs(40, 5, 4, 3, kFloat32);
    for (const double size :
         {1.0, 1e3, 1e6}) {  // a first channel that all keys share shifts all logits of a span alike
      for (Tensor* t : {&in.q, &in.k}) {
        Tensor first = t->select(3, 0);
        fill(first, t == &in.k ? size : 1);
      }
      for (Tensor* t : {&in.q, &in.k}) {
        Tensor whole = t->to(kCpu).clone();
        for (float& x : whole.span<float>()) x = std::round(x);
        *t = here(whole);
      }
      const SpanAttentionOutput f = kernels::span_attention(in.q, in.k, in.v, table);
      const SpanAttentionGrads g = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, table, f);
      const Expected want = slow(in, spans, {});
      CHECK_CLOSE(f.out, want.out, dot_tolerance(kFloat32, 32));
      CHECK_CLOSE(g.dv, want.dv, dot_tolerance(kFloat32, 32));
    }
  });
}

TEST_CASE("span_attention reads no padded position, not even NaN") {
  const Index n = 23;
  const Tensor spans = kernels::level_spans(n, device());
  for (const Mask& mask : span_masks(n)) {
    if (!mask.defined()) continue;
    const Mask real = mask.to(device());
    const Inputs in = make_inputs(n, spans.dim(1), 5, 4, kFloat32);
    Inputs dirty = make_inputs(n, spans.dim(1), 5, 4, kFloat32);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < n; ++i)
        for (Tensor* t : {&dirty.k, &dirty.v}) {
          Tensor row = t->select(0, b).select(1, i);
          if (!is_real(mask, b, i, n)) fill(row, std::numeric_limits<double>::quiet_NaN());
        }
    const auto run = [&](const Inputs& x) -> std::vector<Tensor> {
      const SpanAttentionOutput f = kernels::span_attention(x.q, x.k, x.v, spans, real);
      const SpanAttentionGrads g = kernels::span_attention_grad(x.dout, x.q, x.k, x.v, spans, f, real);
      return {f.out, f.lse, g.dq, g.dk, g.dv};
    };
    const std::vector<Tensor> want = run(in), got = run(dirty);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(same_bits(got[i], want[i]));
  }
}

TEST_CASE("span_attention gives the same bits for any number of threads") {
  const Index n = interpreted() ? 400 : 3000;
  const Tensor spans = kernels::level_spans(n, device());
  const Inputs in = make_inputs(n, spans.dim(1), 8, 8, kFloat32, 1);
  CHECK(same_for_any_thread_count([&]() -> std::vector<Tensor> {
    const SpanAttentionOutput f = kernels::span_attention(in.q, in.k, in.v, spans);
    const SpanAttentionGrads g = kernels::span_attention_grad(in.dout, in.q, in.k, in.v, spans, f);
    return {f.out, g.dq, g.dk, g.dv};
  }));
}

TEST_CASE("span_attention drops weights by sample, span and position, whatever the padding") {
  const auto random = [](std::vector<Index> samples) {
    const Index count = static_cast<Index>(samples.size());
    return RandomState{
        .seed = 3, .stream = 5, .step = here(tensor<Index>({9}, {1})), .samples = here(tensor(samples, {count}))};
  };
  const auto drop = [&](Index batch, Index n, const std::vector<Index>& samples) {
    const Device d = device();
    const Tensor spans = kernels::segment_spans(n, 400, d);
    return kernels::span_attention(zeros({batch, 2, spans.dim(1), 3}, kFloat64, d),
                                   zeros({batch, 2, n, 3}, kFloat64, d), full({batch, 2, n, 1}, 1, kFloat64, d), spans,
                                   Mask::from_lengths(full({batch}, 400, kInt64, kCpu), n).to(d),
                                   {.dropout = 0.25, .random = random(samples)})
        .out;
  };
  const Tensor out = drop(2, 400, {7, 8});
  for (const Index flat : {0, 1, 2, 3}) {
    const double kept = at(out.contiguous(), flat) * 400 * 0.75;
    CHECK(kept == doctest::Approx(std::round(kept)));
    CHECK(kept > 250);
    CHECK(kept < 350);
  }
  CHECK(!same_bits(out.select(0, 0), out.select(0, 1)));
  CHECK(same_bits(drop(1, 900, {8}).slice(2, 0, 1), out.slice(0, 1, 2)));
}

TEST_CASE("span_attention names the argument that does not fit") {
  const Device d = device();
  const auto t = [d](const Shape& shape) { return zeros(shape, kFloat32, d); };
  const auto place = d.is_cpu() ? "cpu" : "cuda:0";
  const Tensor q = t({2, 3, 2, 4}), k = t({2, 3, 6, 4}), spans = kernels::segment_spans(6, 3, d);
  CHECK_THROWS_WITH_AS(
      kernels::span_attention(t({2, 3, 5, 4}), k, k, spans),
      cat("span_attention: q is [2, 3, 5, 4] float32 ", place, ", expected one query for each of 2 spans").c_str(),
      ShapeError);
  CHECK_THROWS_AS(kernels::span_attention(q, t({2, 3, 6, 5}), k, spans), ShapeError);
  CHECK_THROWS_AS(kernels::span_attention(q, k, k, spans, {}, {.dropout = 0.5}), Error);
  CHECK_THROWS_AS(kernels::span_attention(q, k, k, spans, Mask::from_lengths(tensor<Index>({5, 5}, {2}), 5).to(d)),
                  ShapeError);
  const SpanAttentionOutput f = kernels::span_attention(q, k, k, spans);
  CHECK_THROWS_WITH_AS(
      kernels::span_attention_grad(k, q, k, k, spans, f),
      cat("span_attention_grad: dout is [2, 3, 6, 4] float32 ", place, ", expected shape [2, 3, 2, 4]").c_str(),
      ShapeError);
}

}  // namespace subquad::test
