#include "subquad/kernels/attention/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "subquad/core/allocator.h"
#include "subquad/core/parallel.h"
#include "subquad/core/precision.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {
namespace {

using kernels::AttentionGrads;
using kernels::AttentionOptions;
using kernels::AttentionOutput;

enum class Padding { none, prefix, scattered };

struct AttentionCase {
  Index batch = 2, heads = 2, queries = 7, keys = 7, width = 4, value_width = 4;
  bool causal = false;
  Padding padding = Padding::none;
  double scale = 0;
  bool skip_padded_queries = true;

  AttentionOptions options() const { return {causal, scale, skip_padded_queries}; }
};

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  return out << "B " << c.batch << " H " << c.heads << " Nq " << c.queries << " Nk " << c.keys << " E " << c.width
             << " Ev " << c.value_width << " causal " << c.causal << " padding " << static_cast<int>(c.padding)
             << " scale " << c.scale << " skip " << c.skip_padded_queries;
}

// Sample 0 is full, sample 1 about two thirds, sample 2 empty, and so on; or two of three positions, here and there.
Mask make_mask(Padding padding, Index batch, Index positions) {
  if (padding == Padding::none) return {};
  Tensor real = zeros({batch, positions}, kBool, kCpu);
  auto r = real.view<bool, 2>();
  for (Index b = 0; b < batch; ++b) {
    const Index length = b % 3 == 0 ? positions : b % 3 == 1 ? (2 * positions + 2) / 3 : 0;
    for (Index i = 0; i < positions; ++i)
      r(b, i) = padding == Padding::prefix ? i < length : b % 3 != 2 && (i * 7 + b * 5) % 3 != 0;
  }
  return Mask::from_bool(here(real));
}

struct Inputs {
  Tensor q, k, v, dout, dlse;
  Mask mask;
};

Inputs make_inputs(const AttentionCase& c, DType dtype) {
  return {normal({c.batch, c.heads, c.queries, c.width}, dtype, 1),
          normal({c.batch, c.heads, c.keys, c.width}, dtype, 2),
          normal({c.batch, c.heads, c.keys, c.value_width}, dtype, 3),
          normal({c.batch, c.heads, c.queries, c.value_width}, dtype, 4),
          normal({c.batch, c.heads, c.queries}, dtype, 5),
          make_mask(c.padding, c.batch, c.keys)};
}

Tensor integers(const Shape& shape, DType dtype, Index low, Index high, std::uint64_t seed) {
  Tensor t = empty(shape, kInt64, kCpu);
  Rng rng(seed);
  for (Index i = 0; i < t.size(); ++i) t.data<Index>()[i] = low + rng.below(high - low + 1);
  return here(t.to(dtype));
}

struct Expected {
  Tensor out, lse, dq, dk, dv;
};

// The definition, loop by loop, with the whole row of logits; in double.
Expected slow_attention(const AttentionCase& c, const Inputs& in) {
  const Tensor q = doubles(in.q), k = doubles(in.k), v = doubles(in.v), dout = doubles(in.dout);
  const Tensor dlse = doubles(in.dlse);
  const Mask mask = in.mask.to(kCpu);
  Expected e{zeros(dout.shape(), kFloat64, kCpu),
             full({c.batch, c.heads, c.queries}, -std::numeric_limits<double>::infinity(), kFloat64, kCpu),
             zeros_like(q), zeros_like(k), zeros_like(v)};
  const auto Q = q.view<const double, 4>(), K = k.view<const double, 4>(), V = v.view<const double, 4>();
  const auto dO = dout.view<const double, 4>();
  const auto dL = dlse.view<const double, 3>();
  auto O = e.out.view<double, 4>(), dQ = e.dq.view<double, 4>(), dK = e.dk.view<double, 4>(),
       dV = e.dv.view<double, 4>();
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.width));
  const bool skip = c.skip_padded_queries && c.queries == c.keys && mask.defined();
  const auto real = [&](Index b, Index j) { return !mask.defined() || mask.real.view<const bool, 2>()(b, j); };
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.queries; ++i) {
        if (skip && !real(b, i)) continue;
        constexpr double kHidden = -std::numeric_limits<double>::infinity();
        std::vector<double> p(static_cast<std::size_t>(c.keys), kHidden);
        double top = kHidden, sum = 0;
        for (Index j = 0; j < c.keys; ++j) {
          if (!real(b, j) || (c.causal && j > i + c.keys - c.queries)) continue;
          double s = 0;
          for (Index x = 0; x < c.width; ++x) s += scale * Q(b, h, i, x) * K(b, h, j, x);
          top = std::max(top, p[static_cast<std::size_t>(j)] = s);
        }
        if (top == kHidden) continue;
        for (double& w : p) sum += w = std::exp(w - top);
        e.lse.view<double, 3>()(b, h, i) = top + std::log(sum);
        double delta = -dL(b, h, i);
        for (Index j = 0; j < c.keys; ++j) {
          const double w = p[static_cast<std::size_t>(j)] /= sum;
          for (Index x = 0; x < c.value_width; ++x) O(b, h, i, x) += w * V(b, h, j, x);
          for (Index x = 0; x < c.value_width; ++x) dV(b, h, j, x) += w * dO(b, h, i, x);
        }
        for (Index x = 0; x < c.value_width; ++x) delta += O(b, h, i, x) * dO(b, h, i, x);
        for (Index j = 0; j < c.keys; ++j) {
          double dp = 0;
          for (Index x = 0; x < c.value_width; ++x) dp += dO(b, h, i, x) * V(b, h, j, x);
          const double ds = scale * p[static_cast<std::size_t>(j)] * (dp - delta);
          for (Index x = 0; x < c.width; ++x) dQ(b, h, i, x) += ds * K(b, h, j, x);
          for (Index x = 0; x < c.width; ++x) dK(b, h, j, x) += ds * Q(b, h, i, x);
        }
      }
  return e;
}

struct Results {
  AttentionOutput forward;
  AttentionGrads grads;

  std::vector<Tensor> all() const { return {forward.out, forward.lse, forward.lse_rest, grads.dq, grads.dk, grads.dv}; }
};

Results run(const Inputs& in, const AttentionOptions& options) {
  AttentionOutput f = kernels::attention(in.q, in.k, in.v, in.mask, options);
  AttentionGrads g = kernels::attention_grad(in.dout, in.dlse, in.q, in.k, in.v, f, in.mask, options);
  return {std::move(f), std::move(g)};
}

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

bool same_results(const Results& a, const Results& b) {
  const std::vector<Tensor> x = a.all(), y = b.all();
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), same_bits);
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
      for (const Tensor& t : {got.forward.out, got.grads.dq, got.grads.dk, got.grads.dv})
        CHECK(t.transpose(1, 2).is_contiguous());
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

// The largest effect, per result, of rounding p and ds to a unit of 1, given operands that need no rounding.
struct RoundingEffect {
  double out = 0, dq = 0, dk = 0, dv = 0;
};

double largest(const Tensor& t) {
  double top = 0;
  for (const double x : t.span<double>()) top = std::max(top, std::fabs(x));
  return top;
}

// Terms of one sign: sums grow all the way, and so do errors where each addition is rounded in the same direction.
TEST_CASE("attention in float32 adds up two thousand positions to 64 roundings") {
  for_each_simd_target([] {
    for (const auto& [queries, keys] : {std::pair<Index, Index>{32, 2048}, {2048, 32}}) {
      const AttentionCase c{.batch = 1, .heads = 1, .queries = queries, .keys = keys, .width = 32, .value_width = 32};
      CAPTURE(c);
      Inputs in = make_inputs(c, kFloat32);
      std::uint64_t seed = 20;
      for (Tensor* t : {&in.q, &in.k, &in.v, &in.dout}) *t = uniform(t->shape(), kFloat32, 0.5, 1, ++seed);
      fill(in.dlse, 8);  // ds > 0
      const Expected want = slow_attention(c, in);
      const Results got = run(in, c.options());
      for (const auto& [result, expected] : {std::pair{got.forward.out, want.out},
                                             {got.grads.dq, want.dq},
                                             {got.grads.dk, want.dk},
                                             {got.grads.dv, want.dv}})
        CHECK_CLOSE(result, expected, 0x1p-18 * std::min(1.0, largest(expected)));
    }
  });
}

// As in slow_attention, with absolute values where rounded factors are summed. No mask.
RoundingEffect rounding_effect(const AttentionCase& c, const Inputs& in) {
  const Tensor q = doubles(in.q), k = doubles(in.k), v = doubles(in.v), dout = doubles(in.dout);
  const Tensor dlse = doubles(in.dlse);
  const auto Q = q.view<const double, 4>(), K = k.view<const double, 4>(), V = v.view<const double, 4>();
  const auto dO = dout.view<const double, 4>();
  const Expected want = slow_attention(c, in);
  const auto L = std::as_const(want.lse).view<const double, 3>(), dL = dlse.view<const double, 3>();
  const auto O = std::as_const(want.out).view<const double, 4>();
  Tensor dq = zeros_like(q), dk = zeros_like(k), dv = zeros_like(v);
  auto dQ = dq.view<double, 4>(), dK = dk.view<double, 4>(), dV = dv.view<double, 4>();
  RoundingEffect effect;
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.queries; ++i) {
        const Index seen = c.causal ? std::clamp<Index>(i + 1 + c.keys - c.queries, 0, c.keys) : c.keys;
        std::vector<double> p(static_cast<std::size_t>(seen)), dp(p.size());
        double delta = -dL(b, h, i), delta_effect = 0;
        for (Index j = 0; j < seen; ++j) {
          double s = 0, product = 0;
          for (Index x = 0; x < c.width; ++x) s += c.scale * Q(b, h, i, x) * K(b, h, j, x);
          for (Index x = 0; x < c.value_width; ++x) product += dO(b, h, i, x) * V(b, h, j, x);
          p[static_cast<std::size_t>(j)] = std::exp(s - L(b, h, i));
          dp[static_cast<std::size_t>(j)] = product;
        }
        for (Index x = 0; x < c.value_width; ++x) {
          double sum = 0;
          for (Index j = 0; j < seen; ++j) sum += p[static_cast<std::size_t>(j)] * std::fabs(V(b, h, j, x));
          effect.out = std::max(effect.out, sum);
          delta += dO(b, h, i, x) * O(b, h, i, x);
          delta_effect += std::fabs(dO(b, h, i, x)) * sum;
        }
        for (Index j = 0; j < seen; ++j) {
          const double w = p[static_cast<std::size_t>(j)];
          const double ds = c.scale * w * (std::fabs(dp[static_cast<std::size_t>(j)] - delta) + delta_effect);
          for (Index x = 0; x < c.width; ++x) dQ(b, h, i, x) += ds * std::fabs(K(b, h, j, x));
          for (Index x = 0; x < c.width; ++x) dK(b, h, j, x) += ds * std::fabs(Q(b, h, i, x));
          for (Index x = 0; x < c.value_width; ++x) dV(b, h, j, x) += w * std::fabs(dO(b, h, i, x));
        }
      }
  effect.dq = largest(dq);
  effect.dk = largest(dk);
  effect.dv = largest(dv);
  return effect;
}

struct LowPrecision {
  Precision precision;
  double unit;       // of rounding to it
  int dropped_bits;  // of a float32
};
const std::vector<LowPrecision> kLowPrecisions = {{Precision::tf32, 0x1p-11, 13}, {Precision::bf16, 0x1p-8, 16}};

// float32 tensors of numbers that have no more bits than `low` keeps; nearest, where normal() gives no ties.
Tensor rounded(const Tensor& t, const LowPrecision& low) {
  Tensor r = t.to(kCpu).clone();
  for (float& x : r.span<float>()) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x) + (1u << (low.dropped_bits - 1));
    x = std::bit_cast<float>(bits >> low.dropped_bits << low.dropped_bits);
  }
  return here(r);
}

Inputs rounded(Inputs in, const LowPrecision& low) {
  for (Tensor* t : {&in.q, &in.k, &in.v, &in.dout}) *t = rounded(*t, low);
  return in;
}

// Powers of two as scale: q is multiplied by it before it is rounded.
const std::vector<AttentionCase> kPrecisionCases = {
    {.queries = 70, .keys = 70, .width = 16, .value_width = 16, .scale = 0.25},
    {.batch = 1, .queries = 140, .keys = 70, .width = 32, .value_width = 24, .causal = true, .scale = 0.25},
    {.batch = 1, .queries = 33, .keys = 100, .width = 64, .value_width = 33, .causal = true, .scale = 0.125},
    {.batch = 1, .queries = 140, .keys = 70, .width = 40, .value_width = 64, .scale = 0.125},
    {.batch = 1, .queries = 70, .keys = 70, .width = 128, .value_width = 100, .scale = 0.125}};

TEST_CASE("attention in tf32 and bf16 is wrong by no more than rounded factors can make it") {
  if (device().is_cpu()) return;  // computes in float32 whatever is asked for
  for (const LowPrecision& low : kLowPrecisions) {
    const PrecisionGuard guard(low.precision);
    CAPTURE(low.precision);
    for (const AttentionCase& c : kPrecisionCases) {
      CAPTURE(c);
      const Inputs in = rounded(make_inputs(c, kFloat32), low);
      const Expected want = slow_attention(c, in);
      const RoundingEffect effect = rounding_effect(c, in);
      const Results got = run(in, c.options());
      const double rest = dot_tolerance(kFloat32, std::max({c.queries, c.keys, c.width, c.value_width}) * 4);
      const auto within = [&](const Tensor& result, const Tensor& expected, double size) {
        const double bound = low.unit * size / std::max(1.0, largest(expected)) + rest;
        return largest_error(result, expected) <= bound;
      };
      CHECK(within(got.forward.out, want.out, effect.out));
      CHECK(within(got.grads.dq, want.dq, effect.dq));
      CHECK(within(got.grads.dk, want.dk, effect.dk));
      CHECK(within(got.grads.dv, want.dv, effect.dv));
      CHECK_CLOSE(got.forward.lse, want.lse, rest);
    }
  }
}

TEST_CASE("attention in tf32 and bf16 rounds what it multiplies, and fp32 does not") {
  if (device().is_cpu()) return;
  const AttentionCase c = kPrecisionCases[0];
  const Inputs in = make_inputs(c, kFloat32);
  const Results exact = run(in, c.options());
  for (const LowPrecision& low : kLowPrecisions) {
    CAPTURE(low.precision);
    const Inputs in_low = rounded(in, low);
    CHECK_FALSE(same_bits(run(in_low, c.options()).forward.lse, exact.forward.lse));
    const PrecisionGuard guard(low.precision);
    const Results a = run(in, c.options()), b = run(in_low, c.options());
    CHECK(same_bits(a.forward.out, b.forward.out));
    CHECK(same_bits(a.forward.lse, b.forward.lse));
    CHECK_FALSE(same_bits(a.forward.out, exact.forward.out));
    for (const auto& [low_grad, exact_grad] :
         {std::pair{a.grads.dq, exact.grads.dq}, {a.grads.dk, exact.grads.dk}, {a.grads.dv, exact.grads.dv}})
      CHECK_FALSE(same_bits(low_grad, exact_grad));
  }
}

TEST_CASE("attention gives the same bits whenever it computes in the same precision") {
  std::vector<AttentionCase> cases = {{.queries = 40, .keys = 40, .width = 130, .value_width = 7}};
  if (!device().is_cpu()) cases.insert(cases.end(), kPrecisionCases.begin(), kPrecisionCases.end());
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const PrecisionGuard guard(precision);
    CAPTURE(precision);
    for (const AttentionCase& c : cases) {
      CAPTURE(c);
      const Inputs in = make_inputs(c, kFloat32);
      CHECK(same_for_any_thread_count([&] { return run(in, c.options()).all(); }));
    }
  }
}

TEST_CASE("attention: float64 is computed the same in every precision") {
  const AttentionCase c{.queries = 20, .keys = 20};
  const Inputs in = make_inputs(c, kFloat64);
  const Results want = run(in, c.options());
  for (const LowPrecision& low : kLowPrecisions) {
    const PrecisionGuard guard(low.precision);
    CHECK(same_results(run(in, c.options()), want));
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
