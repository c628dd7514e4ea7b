#include "subquad/tests/nn/attention/fsat_cases.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace subquad::nn::fsat_cases {

std::vector<Case> cases() {
  return {
      {},
      {.holes = true},
      {.fsat = {.cross = 2, .hidden = 3, .lags = 3, .columns = 2, .window = -1, .mode = FsatMode::bias}, .bias = false},
      {.fsat =
           {.cross = 2, .hidden = 3, .lags = 5, .columns = 4, .window = 2, .mode = FsatMode::bias, .truncate = false},
       .holes = true},
      {.head_width = 5, .fsat = {.cross = 1, .hidden = 1, .lags = 0, .columns = 3, .window = -1}},
      {.fsat = {.cross = 4, .hidden = 2, .lags = 3, .columns = 0, .window = 0}},
      {.lengths = {1}, .positions = 1, .width = 4, .heads = 4},
      {.lengths = {}, .positions = 5, .width = 4},
      {.lengths = {0, 0}, .positions = 0, .width = 4},
      {.lengths = {40, 33, 0},
       .positions = 40,
       .fsat = {.cross = 5, .hidden = 3, .lags = 9, .columns = 6, .window = 3}},
  };
}

namespace {

using Rows = std::vector<std::vector<double>>;

// Columns [from, from + width) of the real rows of sample b; x [B, N, C].
Rows real_rows(const Tensor& x, const Mask& mask, Index b, Index from, Index width) {
  Rows rows;
  for (Index i = 0; i < x.dim(1); ++i)
    if (test::slow::is_real(mask, b, i)) {
      std::vector<double>& row = rows.emplace_back();
      for (Index c = from; c < from + width; ++c) row.push_back(x.view<const double, 3>()(b, i, c));
    }
  return rows;
}

struct Cross {
  Rows lag, col;
};
Cross cross(const Rows& a, const Rows& b, std::size_t channels) {
  const std::size_t n = a.size();
  Cross out{Rows(n, std::vector<double>(channels)), Rows(n, std::vector<double>(channels))};
  for (std::size_t r = 0; r < channels; ++r) {
    double a_mean = 0, b_mean = 0;
    for (std::size_t i = 0; i < n; ++i) a_mean += a[i][r] / double(n), b_mean += b[i][r] / double(n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        out.lag[(j + n - i) % n][r] += (a[i][r] - a_mean) * (b[j][r] - b_mean) / double(n);
        out.col[j][r] += a[i][r] * (b[j][r] - b_mean) / double(n);
      }
  }
  return out;
}

std::vector<double> scores(const Rows& features, const test::slow::Weights& w, Index head) {
  const Tensor u = w("u"), w1 = w("w1"), b1 = w("b1"), w2 = w("w2");
  std::vector<double> out;
  for (const std::vector<double>& f : features) {
    double score = 0;
    for (Index r = 0; r < u.dim(1); ++r) score += u.view<const double, 2>()(head, r) * f[std::size_t(r)];
    for (Index m = 0; m < b1.dim(1); ++m) {
      double z = b1.view<const double, 2>()(head, m);
      for (Index r = 0; r < u.dim(1); ++r) z += w1.view<const double, 3>()(head, r, m) * f[std::size_t(r)];
      score += w2.view<const double, 2>()(head, m) * z / 2 * (1 + std::erf(z / std::sqrt(2.0)));
    }
    out.push_back(score);
  }
  return out;
}

// chosen[x]: is x one of the best `count`? Those within the window are so before all others.
std::vector<bool> choose(const std::vector<double>& score, Index count, Index window) {
  const Index n = Index(score.size());
  std::vector<Index> order(score.size());
  std::iota(order.begin(), order.end(), Index(0));
  const auto forced = [&](Index x) { return x <= window || n - x <= window; };
  std::stable_sort(order.begin(), order.end(), [&](Index x, Index y) {
    if (forced(x) != forced(y)) return forced(x);
    return !forced(x) && score[std::size_t(x)] > score[std::size_t(y)];
  });
  std::vector<bool> chosen(score.size());
  for (Index s = 0; s < std::min(count, n); ++s) chosen[std::size_t(order[std::size_t(s)])] = true;
  return chosen;
}

}  // namespace

// A [B, H, N, N], rows and columns of padded positions 0.
Tensor slow_matrix(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask) {
  const Index head_width = c.head_width > 0 ? c.head_width : c.width / c.heads, channels = c.fsat.cross;
  const Tensor q = test::slow::linear(x, w / "query"), k = test::slow::linear(x, w / "key");
  const Tensor a = test::slow::linear(x, w / "cross_a"), b = test::slow::linear(x, w / "cross_b");
  Tensor all = zeros({x.dim(0), c.heads, x.dim(1), x.dim(1)}, kFloat64, kCpu);
  for (Index s = 0; s < x.dim(0); ++s)
    for (Index h = 0; h < c.heads; ++h) {
      std::vector<Index> place;  // of each real token
      for (Index i = 0; i < x.dim(1); ++i)
        if (test::slow::is_real(mask, s, i)) place.push_back(i);
      const std::size_t n = place.size();
      const Cross pooled = cross(real_rows(a, mask, s, h * channels, channels),
                                 real_rows(b, mask, s, h * channels, channels), std::size_t(channels));
      const std::vector<double> lag = scores(pooled.lag, w / "lag_head", h),
                                col = scores(pooled.col, w / "col_head", h);
      const std::vector<bool> lags = choose(lag, c.fsat.lags, c.fsat.window), columns = choose(col, c.fsat.columns, -1);
      const Rows queries = real_rows(q, mask, s, h * head_width, head_width);
      const Rows keys = real_rows(k, mask, s, h * head_width, head_width);
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        std::vector<double> p(n);
        for (std::size_t j = 0; j < n; ++j) {
          const std::size_t t = (j + n - i) % n;
          if (!lags[t] && !columns[j]) continue;
          double logit = std::inner_product(queries[i].begin(), queries[i].end(), keys[j].begin(), 0.0) /
                         std::sqrt(double(head_width));
          if (c.fsat.mode == FsatMode::bias) logit += lags[t] ? lag[t] : col[j];
          sum += p[j] = std::exp(logit);
        }
        for (std::size_t j = 0; j < n; ++j) all.view<double, 4>()(s, h, place[i], place[j]) = p[j] / sum;
      }
    }
  return all;
}

Tensor slow_module(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask) {
  const Tensor A = slow_matrix(x, w, c, mask), v = test::slow::linear(x, w / "value");
  const Index head_width = v.dim(2) / c.heads;
  Tensor mixed = zeros(v.shape(), kFloat64, kCpu);
  for (Index s = 0; s < x.dim(0); ++s)
    for (Index f = 0; f < v.dim(2); ++f)
      for (Index i = 0; i < x.dim(1); ++i)
        for (Index j = 0; j < x.dim(1); ++j)
          mixed.view<double, 3>()(s, i, f) +=
              A.view<const double, 4>()(s, f / head_width, i, j) * v.view<const double, 3>()(s, j, f);
  return test::slow::linear(mixed, w / "out");
}

}  // namespace subquad::nn::fsat_cases
