#include "subquad/kernels/gathered_attention/gathered_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/core/graph.h"
#include "subquad/core/parallel.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::AttentionOutput;
using kernels::GatheredAttentionGrads;
using kernels::GatheredAttentionOptions;

struct Case {
  Index batch = 2, heads = 2, queries = 7, keys = 7, slots = 4, width = 4, value_width = 4;
  bool bias = false, masked = false;
  GatheredAttentionOptions options = {};
};

struct Inputs {
  Tensor q, k, v, index, bias, dout, dlse;
  Mask mask;
};

// Random keys, some twice in a row, a fifth of the slots empty, and query 1 without any.
Tensor make_index(const Case& c, std::uint64_t seed) {
  Tensor index = empty({c.batch, c.heads, c.queries, c.slots}, kInt64, kCpu);
  Rng rng(seed);
  for (Index a = 0; a < index.size(); ++a) {
    const bool hollow = c.keys == 0 || rng.below(5) == 0 || a / std::max<Index>(c.slots, 1) % c.queries == 1;
    index.data<Index>()[a] = hollow ? -1 : rng.below(c.keys);
  }
  return here(index);
}

// Sample 0 is full, sample 1 two thirds here and there, sample 2 empty.
Mask make_mask(const Case& c) {
  if (!c.masked) return {};
  Tensor real = empty({c.batch, c.keys}, kBool, kCpu);
  for (Index b = 0; b < c.batch; ++b)
    for (Index j = 0; j < c.keys; ++j) real.view<bool, 2>()(b, j) = b % 3 == 0 || (b % 3 == 1 && j % 3 != 1);
  return Mask::from_bool(real).to(device());
}

Inputs make_inputs(const Case& c, DType dtype) {
  return {normal({c.batch, c.heads, c.queries, c.width}, dtype, 1),
          normal({c.batch, c.heads, c.keys, c.width}, dtype, 2),
          normal({c.batch, c.heads, c.keys, c.value_width}, dtype, 3),
          make_index(c, 4),
          c.bias ? normal({c.batch, c.heads, c.queries, c.slots}, dtype, 5) : Tensor(),
          normal({c.batch, c.heads, c.queries, c.value_width}, dtype, 6),
          normal({c.batch, c.heads, c.queries}, dtype, 7),
          make_mask(c)};
}

struct Results {
  Tensor out, lse, dq, dk, dv, dbias;

  std::vector<Tensor> all() const {
    std::vector<Tensor> tensors = {out, lse, dq, dk, dv};
    if (dbias.defined()) tensors.push_back(dbias);
    return tensors;
  }
};

Results run(const Inputs& in, const GatheredAttentionOptions& options) {
  const AttentionOutput f = kernels::gathered_attention(in.q, in.k, in.v, in.index, in.bias, in.mask, options);
  const GatheredAttentionGrads g =
      kernels::gathered_attention_grad(in.dout, in.dlse, in.q, in.k, in.v, in.index, f, in.bias, in.mask, options);
  return {f.out, f.lse, g.dq, g.dk, g.dv, g.dbias};
}

// The definition, slot by slot, in double.
Results slow(const Case& c, const Inputs& in) {
  const Tensor q = doubles(in.q), k = doubles(in.k), v = doubles(in.v), dout = doubles(in.dout);
  const Tensor dlse = doubles(in.dlse), bias = c.bias ? doubles(in.bias) : zeros(in.index.shape(), kFloat64, kCpu);
  Results r{zeros(dout.shape(), kFloat64, kCpu),
            full(dlse.shape(), -std::numeric_limits<double>::infinity(), kFloat64, kCpu),
            zeros_like(q),
            zeros_like(k),
            zeros_like(v),
            c.bias ? zeros_like(bias) : Tensor()};
  const auto Q = q.view<const double, 4>(), K = k.view<const double, 4>(), V = v.view<const double, 4>();
  const auto dO = dout.view<const double, 4>(), Bias = bias.view<const double, 4>();
  const Tensor slots = in.index.to(kCpu), reals = c.masked ? in.mask.real.to(kCpu) : Tensor();
  const auto index = slots.view<const Index, 4>();
  auto O = r.out.view<double, 4>(), dQ = r.dq.view<double, 4>(), dK = r.dk.view<double, 4>(),
       dV = r.dv.view<double, 4>();
  const double scale = c.options.scale != 0 ? c.options.scale : 1 / std::sqrt(static_cast<double>(c.width));
  const auto real = [&](Index b, Index j) { return !c.masked || reals.view<const bool, 2>()(b, j); };
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.queries; ++i) {
        if (c.masked && c.options.skip_padded_queries && c.queries == c.keys && !real(b, i)) continue;
        std::vector<double> p(static_cast<std::size_t>(c.slots), 0.0);
        const auto live = [&](Index t) { return index(b, h, i, t) >= 0 && real(b, index(b, h, i, t)); };
        double sum = 0;
        for (Index t = 0; t < c.slots; ++t) {
          if (!live(t)) continue;
          double s = Bias(b, h, i, t);
          for (Index e = 0; e < c.width; ++e) s += scale * Q(b, h, i, e) * K(b, h, index(b, h, i, t), e);
          sum += p[static_cast<std::size_t>(t)] = std::exp(s);
        }
        if (sum == 0) continue;
        r.lse.view<double, 3>()(b, h, i) = std::log(sum);
        double delta = -dlse.view<const double, 3>()(b, h, i);
        for (Index t = 0; t < c.slots; ++t) {
          const double w = p[static_cast<std::size_t>(t)] /= sum;
          for (Index e = 0; live(t) && e < c.value_width; ++e) {
            O(b, h, i, e) += w * V(b, h, index(b, h, i, t), e);
            dV(b, h, index(b, h, i, t), e) += w * dO(b, h, i, e);
          }
        }
        for (Index e = 0; e < c.value_width; ++e) delta += O(b, h, i, e) * dO(b, h, i, e);
        for (Index t = 0; t < c.slots; ++t) {
          if (!live(t)) continue;
          const Index j = index(b, h, i, t);
          double ds = -delta;
          for (Index e = 0; e < c.value_width; ++e) ds += dO(b, h, i, e) * V(b, h, j, e);
          ds *= p[static_cast<std::size_t>(t)];
          if (c.bias) r.dbias.view<double, 4>()(b, h, i, t) = ds;
          for (Index e = 0; e < c.width; ++e) dQ(b, h, i, e) += scale * ds * K(b, h, j, e);
          for (Index e = 0; e < c.width; ++e) dK(b, h, j, e) += scale * ds * Q(b, h, i, e);
        }
      }
  return r;
}

void check(const Case& c) {
  CAPTURE(c.queries);
  CAPTURE(c.keys);
  CAPTURE(c.slots);
  CAPTURE(c.width);
  for_each_simd_target([&] {
    for_each_float([&](DType dtype) {
      const Inputs in = make_inputs(c, dtype);
      const std::vector<Tensor> got = run(in, c.options).all(), want = slow(c, in).all();
      const Index longest = std::max({c.slots * c.queries / std::max<Index>(c.keys, 1) * 2, c.slots, c.width});
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK_CLOSE(got[i], want[i], dot_tolerance(dtype, 4 * std::max(longest, c.value_width)));
      }
    });
  });
}

TEST_CASE("gathered_attention equals the double loop for every rectangle, mask, bias and number of slots") {
  for (const Index n : interpreted() ? std::vector<Index>{1, 2, 7, 33} : std::vector<Index>{1, 2, 7, 33, 130})
    for (const bool bias : {false, true})
      for (const bool masked : {false, true}) {
        if (interpreted() && n > 7 && bias != masked) continue;
        const Case square{.batch = 3, .queries = n, .keys = n, .slots = n / 2 + 1, .bias = bias, .masked = masked};
        check(square);
        Case other = square;
        other.queries = n / 2 + 1;
        other.slots = 2 * n + 1;  // most keys more than once
        check(other);
      }
  check({.slots = 200});
  check({.slots = 0, .bias = true});
  check({.keys = 0});
  check({.queries = 0});
  check({.batch = 0});
  check({.heads = 0});
  check({.batch = 3, .masked = true, .options = {.skip_padded_queries = false}});
  check({.options = {.scale = -0.7}});
}

TEST_CASE("gathered_attention takes any head size") {
  for (const Index width : interpreted() ? std::vector<Index>{1, 17, 40} : std::vector<Index>{1, 3, 8, 17, 32, 40})
    for (const Index value_width : {1, 5, 16, 72}) check({.slots = 6, .width = width, .value_width = value_width});
  for (const Index width : {48, 64, 100, 132, 260}) check({.slots = 3, .width = width, .value_width = width - 4});
}

TEST_CASE("gathered_attention reads rows wherever they stand, and few or all slots alike") {
  for_each_simd_target([] {
    for (const Index width : {16, 32, 40}) {  // whole vectors are read in place, others from a copy
      const Case c{.queries = 37, .keys = 37, .slots = 19, .width = width, .value_width = 32};
      Inputs in = make_inputs(c, kFloat32);
      Tensor all = in.index.to(kCpu);
      for (Index a = 0; a < all.size() / 2; ++a) all.data<Index>()[a] = (a * 5 + a / 19) % 37;  // a sample without gaps
      in.index = here(all);
      const std::vector<Tensor> want = run(in, {}).all();
      for (Tensor* t : {&in.q, &in.k, &in.v, &in.dout})  // as memory [B, N, H, E]
        *t = t->transpose(1, 2).contiguous().transpose(1, 2);
      const std::vector<Tensor> got = run(in, {}).all();
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i].contiguous(), want[i].contiguous()));
      CHECK_CLOSE(got[0], slow(c, in).out, dot_tolerance(kFloat32, 4 * width));
    }
  });
}

TEST_CASE("gathered_attention with keys that very many slots have") {
  const Case few{.batch = 1, .heads = 2, .queries = 500, .keys = 3, .slots = 4, .width = 8, .value_width = 12};
  check(few);
  Case one = few;  // and a key of all live slots of a head
  one.keys = 1;
  check(one);
  one.slots = 3;
  check(one);
  one.heads = 1;
  for (const Index width : {9, 40, 132})  // one by one, in two packs, in chunks
    for (const Index slots : {3, 4, 5}) {
      one.queries = width == 40 ? 750 : 250;
      one.width = width;
      one.slots = slots;
      check(one);
    }
  Case biased{.queries = 220, .keys = 40, .slots = 9, .width = 5, .bias = true};  // one hub among keys of few slots
  Inputs in = make_inputs(biased, kFloat32);
  Tensor index = in.index.to(kCpu);
  for (Index a = 0; a < index.size(); ++a)
    if (a % 3 != 0) index.data<Index>()[a] = 17;
  in.index = here(index);
  const std::vector<Tensor> got = run(in, {}).all(), want = slow(biased, in).all(), again = run(in, {}).all();
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK_CLOSE(got[i], want[i], dot_tolerance(kFloat32, 4 * 1400));
    CHECK(same_bits(got[i], again[i]));
  }
}

TEST_CASE("gathered_attention to all keys is attention") {
  for_each_float([](DType dtype) {
    const Case c{.batch = 3, .queries = 40, .keys = 40, .slots = 40, .masked = true};
    Inputs in = make_inputs(c, dtype);
    Tensor all = in.index.to(kCpu);
    for (Index a = 0; a < all.size(); ++a) all.data<Index>()[a] = (a * 7 + a / 40) % 40;  // any order
    in.index = here(all);
    const Results got = run(in, {});
    const AttentionOutput f = kernels::attention(in.q, in.k, in.v, in.mask);
    const kernels::AttentionGrads g = kernels::attention_grad(in.dout, in.dlse, in.q, in.k, in.v, f, in.mask);
    const double tolerance = dot_tolerance(dtype, 160);
    CHECK_CLOSE(got.out, f.out, tolerance);
    CHECK_CLOSE(got.lse, f.lse, tolerance);
    CHECK_CLOSE(got.dq, g.dq, tolerance);
    CHECK_CLOSE(got.dk, g.dk, tolerance);
    CHECK_CLOSE(got.dv, g.dv, tolerance);
  });
}

TEST_CASE("gathered_attention is as accurate at large logits as at small ones") {
  for_each_simd_target([] {
    const Case c{.queries = 30, .keys = 30, .slots = 12};
    Inputs in = make_inputs(c, kFloat64);
    for (Tensor* t : {&in.q, &in.k}) {  // whole numbers: products are exact in float32, too
      Tensor whole = t->to(kCpu);
      for (double& x : whole.span<double>()) x = std::round(4 * x);
      *t = here(whole);
    }
    Inputs single = in;
    for (Tensor* t : {&single.q, &single.k, &single.v, &single.dout, &single.dlse}) *t = t->to(kFloat32);
    for (Tensor* t : {&in.v, &in.dout, &in.dlse}) *t = t->to(kFloat32).to(kFloat64);
    const GatheredAttentionOptions options{.scale = 8};  // logits of some hundreds
    const std::vector<Tensor> got = run(single, options).all(), want = run(in, options).all();
    for (std::size_t i = 0; i < got.size(); ++i) CHECK_CLOSE(got[i], want[i], dot_tolerance(kFloat32, 48));
  });
}

TEST_CASE("gathered_attention does not see what stands at padded positions, not even NaN") {
  for_each_simd_target([] {
    const Case c{.batch = 3, .queries = 70, .keys = 70, .slots = 20, .bias = true, .masked = true};
    const Inputs clean = make_inputs(c, kFloat32);
    Inputs dirty = make_inputs(c, kFloat32);
    const Tensor real = clean.mask.real.to(kCpu);
    for (Index b = 0; b < c.batch; ++b)
      for (Index i = 0; i < c.keys; ++i) {
        if (real.view<const bool, 2>()(b, i)) continue;
        for (Tensor* t : {&dirty.q, &dirty.k, &dirty.v, &dirty.dout, &dirty.dlse, &dirty.bias}) {
          Tensor row = t->select(0, b).select(1, i);
          fill(row, std::numeric_limits<double>::quiet_NaN());
        }
        Tensor row = dirty.index.select(0, b).select(1, i);
        fill(row, 1e6);
      }
    const std::vector<Tensor> got = run(dirty, {}).all(), want = run(clean, {}).all();
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], want[i]));
  });
}

TEST_SUITE("cuda") {
  TEST_CASE("gathered_attention takes a slot that names no key for an empty one") {
    const Case c{.queries = 9, .keys = 6, .slots = 11, .bias = true};
    Inputs in = make_inputs(c, kFloat32);
    Tensor index = in.index.to(kCpu), clean = index.clone();
    for (Index a = 0; a < index.size(); a += 3) {
      index.data<Index>()[a] = a % 2 == 0 ? 6 + a : -2 - (Index{1} << 40);
      clean.data<Index>()[a] = -1;
    }
    in.index = here(index);
    const std::vector<Tensor> got = run(in, {}).all();
    in.index = here(clean);
    const std::vector<Tensor> want = run(in, {}).all();
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], want[i]));
  }

  TEST_CASE("gathered_attention in a graph takes the index that is there at its replay") {
    const Case c{.queries = 40, .keys = 30, .slots = 9};
    Inputs in = make_inputs(c, kFloat32);
    std::vector<Tensor> out;
    Graph graph = Graph::capture(device(), [&] { out = run(in, {}).all(); });
    for (const std::uint64_t seed : {21, 22}) {
      Inputs other = in;
      other.index = make_index(c, seed);
      copy(other.index, in.index);
      graph.replay();
      const std::vector<Tensor> want = run(other, {}).all();
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(same_bits(out[i], want[i]));
    }
  }
}

TEST_CASE("gathered_attention reads views, and gives the same bits for any number of threads") {
  const Case c{.batch = 1,
               .queries = interpreted() ? 70 : 300,
               .keys = 200,
               .slots = 30,
               .width = 32,
               .value_width = 24,
               .bias = true};
  const Inputs in = make_inputs(c, kFloat32);
  CHECK(same_for_any_thread_count([&] { return run(in, {}).all(); }));
  Inputs views = in;
  for (Tensor* t : {&views.q, &views.k, &views.v, &views.dout}) *t = t->transpose(1, 2).contiguous().transpose(1, 2);
  const std::vector<Tensor> got = run(views, {}).all(), want = run(in, {}).all();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], want[i]));
  CHECK(got[0].transpose(1, 2).is_contiguous());
}

TEST_CASE("gathered_attention names what does not fit") {
  const Tensor x = zeros({2, 1, 5, 4}, kFloat32, kCpu), lse = zeros({2, 1, 5}, kFloat32, kCpu);
  const auto index_of = [](Index value) {
    Tensor index = zeros({2, 1, 5, 3}, kInt64, kCpu);
    index.data<Index>()[3 * 5 + 4] = value;
    return index;
  };
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, x, x, index_of(5)),
                       "gathered_attention: index[1, 0, 1, 1] is 5, expected a key 0 <= j < 5, or -1 for an empty slot",
                       Error);
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, x, x, index_of(-2)), doctest::Contains("index[1, 0, 1, 1] is -2"),
                       Error);
  CHECK_NOTHROW(kernels::gathered_attention(x, x, x, index_of(-1)));
  CHECK_THROWS_WITH_AS(
      kernels::gathered_attention(x, x, x, zeros({2, 1, 4, 3}, kInt64, kCpu)),
      "gathered_attention: index is [2, 1, 4, 3] int64 cpu, expected [2, 1, 5, 3] = [B, H, Nq, K] for q [2, 1, 5, 4]",
      ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, x, x, zeros({2, 1, 5, 3}, kFloat32, kCpu)),
                       doctest::Contains("gathered_attention: index is [2, 1, 5, 3] float32 cpu, expected int64"),
                       DTypeError);
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, x, x, index_of(0), zeros({2, 1, 5, 2}, kFloat32, kCpu)),
                       doctest::Contains("gathered_attention: bias is [2, 1, 5, 2]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, zeros({2, 1, 5, 3}, kFloat32, kCpu), x, index_of(0)),
                       doctest::Contains("gathered_attention: k is [2, 1, 5, 3]"), ShapeError);
  CHECK_THROWS_WITH_AS(kernels::gathered_attention(x, x, x, index_of(0), {}, {}, {.scale = NAN}),
                       doctest::Contains("gathered_attention: scale is nan"), Error);
  CHECK_THROWS_WITH_AS(
      kernels::gathered_attention_grad(zeros({2, 1, 5, 3}, kFloat32, kCpu), {}, x, x, x, index_of(0), {x, lse, lse}),
      doctest::Contains("gathered_attention_grad: dout is [2, 1, 5, 3]"), ShapeError);
}

}  // namespace
}  // namespace subquad::test
