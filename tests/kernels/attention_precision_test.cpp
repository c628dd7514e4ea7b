// Attention where products are rounded: tf32 and bf16, and what sums in float32 hold over long rows.
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "subquad/core/precision.h"
#include "subquad/tests/kernels/attention_cases.h"
#include "subquad/tests/support/threads.h"

namespace subquad::test {

using namespace attention_cases;

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

}  // namespace subquad::test
