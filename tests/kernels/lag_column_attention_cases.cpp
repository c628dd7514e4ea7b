#include "subquad/tests/kernels/lag_column_attention_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace subquad::test::lag_column_cases {

RandomState random_of(const std::vector<Index>& samples) {
  return {.seed = 5,
          .stream = 9,
          .step = full({1}, 3, kInt64, device()),
          .samples = here(tensor(samples, {Index(samples.size())}))};
}

namespace {

// `count` different numbers below the sample's length (all of them when there are fewer), rising, then -1.
Tensor make_list(const Case& c, Index count, std::uint64_t seed) {
  Tensor list = full({c.batch(), c.heads, count}, -1, kInt64, kCpu);
  Rng rng(seed);
  for (Index row = 0; row < c.batch() * c.heads; ++row) {
    const Index n = c.lengths[static_cast<std::size_t>(row / c.heads)], taken = std::min(count, n);
    Index* out = list.data<Index>() + row * count;
    for (Index x = 0, left = taken; x < n; ++x)
      if (rng.below(n - x) < left) out[taken - left--] = x;
  }
  return here(list);
}

}  // namespace

Inputs make_inputs(const Case& c, DType dtype) {
  const Shape rows = {c.batch(), c.heads, c.positions};
  const auto heads = [&](Index width, std::uint64_t seed) { return normal(rows.inserted(3, width), dtype, seed); };
  Inputs in{heads(c.width, 1),
            heads(c.width, 2),
            heads(c.value_width, 3),
            heads(c.value_width, 4),
            normal(rows, dtype, 5),
            {make_list(c, c.lags, 6), make_list(c, c.columns, 7)},
            {},
            Mask::from_lengths(tensor(c.lengths, {c.batch()}), c.positions).to(device()),
            {.scale = c.scale, .dropout = c.dropout}};
  if (c.dropout > 0) {
    std::vector<Index> samples;
    for (Index b = 0; b < c.batch(); ++b) samples.push_back(40 + 3 * b);
    in.options.random = random_of(samples);
  }
  if (c.scores) in.scores = {normal(rows, dtype, 8), normal(rows, dtype, 9)};
  return in;
}

Results run(const Inputs& in) {
  const AttentionOutput f = kernels::lag_column_attention(in.q, in.k, in.v, in.chosen, in.scores, in.mask, in.options);
  const LagColumnGrads g = kernels::lag_column_attention_grad(in.dout, in.dlse, in.q, in.k, in.v, in.chosen, f,
                                                              in.scores, in.mask, in.options);
  return {f.out, f.lse, g.dq, g.dk, g.dv, g.dlag_score, g.dcol_score};
}

bool same(const Results& a, const Results& b) {
  const std::vector<Tensor> x = a.all(), y = b.all();
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), same_bits);
}

Tensor slot_keys(const Case& c, const LagColumns& chosen) {
  Tensor index = full({c.batch(), c.heads, c.positions, c.lags + c.columns}, -1, kInt64, kCpu);
  const Tensor all_lags = chosen.lags.to(kCpu), all_columns = chosen.columns.to(kCpu);
  const auto lags = all_lags.view<const Index, 3>(), columns = all_columns.view<const Index, 3>();
  auto out = index.view<Index, 4>();
  for (Index b = 0; b < c.batch(); ++b)
    for (Index h = 0; h < c.heads; ++h) {
      const Index n = c.lengths[static_cast<std::size_t>(b)];
      for (Index i = 0; i < n; ++i) {
        for (Index s = 0; s < c.lags; ++s)
          if (lags(b, h, s) >= 0) out(b, h, i, s) = (i + lags(b, h, s)) % n;
        for (Index s = 0; s < c.columns; ++s) {
          bool twice = false;
          for (Index other = 0; other < c.lags; ++other) twice = twice || out(b, h, i, other) == columns(b, h, s);
          if (!twice) out(b, h, i, c.lags + s) = columns(b, h, s);
        }
      }
    }
  return index;
}

Results slow(const Case& c, const Inputs& in) {
  const Tensor q = doubles(in.q), k = doubles(in.k), v = doubles(in.v), dout = doubles(in.dout);
  const Tensor dlse = doubles(in.dlse);
  const Tensor none = zeros(dlse.shape(), kFloat64, kCpu);
  const Tensor lag_score = c.scores ? doubles(in.scores.lag) : none,
               col_score = c.scores ? doubles(in.scores.col) : none;
  Results r{zeros_like(dout), full(dlse.shape(), -std::numeric_limits<double>::infinity(), kFloat64, kCpu),
            zeros_like(q),    zeros_like(k),
            zeros_like(v),    zeros_like(dlse),
            zeros_like(dlse)};
  const Tensor keys = slot_keys(c, in.chosen), lags = in.chosen.lags.to(kCpu), columns = in.chosen.columns.to(kCpu);
  const RandomState& random = in.options.random;
  const Tensor samples = c.dropout > 0 ? random.samples.to(kCpu) : Tensor();
  const Tensor step = c.dropout > 0 ? random.step.to(kCpu) : Tensor();
  const Index slots = c.lags + c.columns;
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.width));
  const auto row = [](const Tensor& t, Index b, Index h, Index i) {
    return t.data<double>() + ((b * t.dim(1) + h) * t.dim(2) + i) * t.dim(3);
  };
  const auto grad_row = [&](Tensor& t, Index b, Index h, Index i) { return const_cast<double*>(row(t, b, h, i)); };
  const auto dot = [](const double* x, const double* y, Index width) {
    double sum = 0;
    for (Index e = 0; e < width; ++e) sum += x[e] * y[e];
    return sum;
  };
  const auto add = [](double* to, double factor, const double* x, Index width) {
    for (Index e = 0; e < width; ++e) to[e] += factor * x[e];
  };
  for (Index b = 0; b < c.batch(); ++b)
    for (Index h = 0; h < c.heads; ++h)
      for (Index i = 0; i < c.positions; ++i) {
        const auto key = [&](Index s) { return keys.view<const Index, 4>()(b, h, i, s); };
        const auto place = [&](Index s) {  // of the slot's score
          return s < c.lags ? lags.view<const Index, 3>()(b, h, s) : columns.view<const Index, 3>()(b, h, s - c.lags);
        };
        const auto factor = [&](Index s) {  // what dropout makes of the slot's probability
          if (c.dropout == 0) return 1.0;
          const Index bits = (2 * place(s) + (s < c.lags ? 0 : 1)) * c.heads + h;
          const auto word = [](Index x) { return static_cast<std::uint32_t>(x); };
          const PhiloxCounter words =
              philox4x32({word(i / 4), word(bits), word(samples.data<Index>()[b]), word(step.data<Index>()[0])},
                         philox_key(random.seed, random.stream));
          const bool keep = static_cast<double>(uniform_float(words[static_cast<std::size_t>(i % 4)])) >= c.dropout;
          return keep ? 1 / (1 - c.dropout) : 0.0;
        };
        std::vector<double> p(static_cast<std::size_t>(slots), 0.0);
        double sum = 0;
        for (Index s = 0; s < slots; ++s) {
          if (key(s) < 0) continue;
          const Tensor& score = s < c.lags ? lag_score : col_score;
          const double logit = scale * dot(row(q, b, h, i), row(k, b, h, key(s)), c.width) +
                               score.view<const double, 3>()(b, h, place(s));
          sum += p[static_cast<std::size_t>(s)] = std::exp(logit);
        }
        if (sum == 0) continue;
        r.lse.view<double, 3>()(b, h, i) = std::log(sum);
        for (double& w : p) w /= sum;
        for (Index s = 0; s < slots; ++s)
          if (key(s) >= 0) {
            const double w = factor(s) * p[static_cast<std::size_t>(s)];
            add(grad_row(r.out, b, h, i), w, row(v, b, h, key(s)), c.value_width);
            add(grad_row(r.dv, b, h, key(s)), w, row(dout, b, h, i), c.value_width);
          }
        const double delta =
            dot(row(r.out, b, h, i), row(dout, b, h, i), c.value_width) - dlse.view<const double, 3>()(b, h, i);
        for (Index s = 0; s < slots; ++s) {
          if (key(s) < 0) continue;
          const double dp = factor(s) * dot(row(dout, b, h, i), row(v, b, h, key(s)), c.value_width);
          const double ds = p[static_cast<std::size_t>(s)] * (dp - delta);
          add(grad_row(r.dq, b, h, i), scale * ds, row(k, b, h, key(s)), c.width);
          add(grad_row(r.dk, b, h, key(s)), scale * ds, row(q, b, h, i), c.width);
          (s < c.lags ? r.dlag : r.dcol).view<double, 3>()(b, h, place(s)) += ds;
        }
      }
  return r;
}

void check(const Case& c) {
  CAPTURE(c.positions);
  CAPTURE(c.lags);
  CAPTURE(c.columns);
  CAPTURE(c.width);
  for_each_simd_target([&] {
    for_each_float([&](DType dtype) {
      const Inputs in = make_inputs(c, dtype);
      const std::vector<Tensor> got = run(in).all(), want = slow(c, in).all();
      const Index longest = std::max({c.positions, c.lags + c.columns, c.width, c.value_width});
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK_CLOSE(got[i], want[i], dot_tolerance(dtype, 4 * longest));
      }
    });
  });
}

}  // namespace subquad::test::lag_column_cases
