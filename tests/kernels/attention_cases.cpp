#include "subquad/tests/kernels/attention_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <utility>

namespace subquad::test::attention_cases {

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  return out << "B " << c.batch << " H " << c.heads << " Nq " << c.queries << " Nk " << c.keys << " E " << c.width
             << " Ev " << c.value_width << " causal " << c.causal << " padding " << static_cast<int>(c.padding)
             << " scale " << c.scale << " skip " << c.skip_padded_queries << " queries' padding "
             << static_cast<int>(c.query_padding);
}

Mask AttentionCase::query_mask() const {
  return make_mask(query_padding, batch, queries);
}

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
  const Mask own = c.query_mask().to(kCpu);
  const bool skip = c.skip_padded_queries && c.queries == c.keys && !own.defined();
  const auto real = [&](Index b, Index j) { return !mask.defined() || mask.real.view<const bool, 2>()(b, j); };
  for (Index b = 0; b < c.batch; ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.queries; ++i) {
        if ((skip && !real(b, i)) || (own.defined() && !own.real.view<const bool, 2>()(b, i))) continue;
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

Results run(const Inputs& in, const AttentionOptions& options) {
  AttentionOutput f = kernels::attention(in.q, in.k, in.v, in.mask, options);
  AttentionGrads g = kernels::attention_grad(in.dout, in.dlse, in.q, in.k, in.v, f, in.mask, options);
  return {std::move(f), std::move(g)};
}

bool same_results(const Results& a, const Results& b) {
  const std::vector<Tensor> x = a.all(), y = b.all();
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), same_bits);
}

}  // namespace subquad::test::attention_cases
