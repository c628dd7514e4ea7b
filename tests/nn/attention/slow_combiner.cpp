#include "subquad/tests/nn/attention/slow_combiner.h"

#include <cmath>
#include <functional>

#include "subquad/tests/nn/slow.h"

namespace subquad::test::slow {

using nn::CombinerConfig;
using nn::CombinerPattern;
using nn::CombinerPool;
using nn::CombinerSummary;

namespace {

using Row = std::vector<double>;

std::vector<Index> where(Index n, const std::function<bool(Index)>& member) {
  std::vector<Index> set;
  for (Index j = 0; j < n; ++j)
    if (member(j)) set.push_back(j);
  return set;
}

void add_vertical(Sets& sets, Index s, bool causal, Index i, Index n) {
  for (Index y = 0; y < s; ++y) {
    if (y == i % s) continue;
    sets.spans.push_back(where(n, [&](Index j) { return j % s == y && j / s < i / s; }));
    if (!causal) sets.spans.push_back(where(n, [&](Index j) { return j % s == y && j / s > i / s; }));
  }
}

void add_horizontal(Sets& sets, Index s, bool causal, Index i, Index n) {
  for (Index r = 0; r * s < n; ++r) {
    if (r == i / s || (causal && r > i / s)) continue;
    sets.spans.push_back(where(n, [&](Index j) { return j / s == r && j % s < i % s; }));
    sets.spans.push_back(where(n, [&](Index j) { return j / s == r && j % s > i % s; }));
  }
}

}  // namespace

Sets combiner_sets(const CombinerConfig& config, bool causal, Index i, Index n) {
  const Index s = std::min(std::max<Index>(config.segment, 1), n);
  const auto up_to = [&](Index j) { return !causal || j <= i; };
  Sets sets;
  switch (config.pattern) {
    case CombinerPattern::fixed:
      sets.direct = where(n, [&](Index j) { return j / s == i / s && up_to(j); });
      for (Index g = 0; g * s < n; ++g)
        if (causal ? g < i / s : config.own_span || g != i / s)
          sets.spans.push_back(where(n, [&](Index j) { return j / s == g; }));
      break;
    case CombinerPattern::logsparse:
      sets.direct = {i};
      for (int level = 0; (Index{1} << level) < n; ++level) {
        const Index sibling = (i >> level) ^ 1;
        if (!causal || sibling < (i >> level))
          sets.spans.push_back(where(n, [&](Index j) { return j >> level == sibling; }));
      }
      break;
    case CombinerPattern::rowmajor:
      sets.direct = where(n, [&](Index j) { return j / s == i / s && up_to(j); });
      sets.tokens = where(
          n, [&](Index j) { return j % s == i % s && (causal ? j / s < i / s : config.own_span || j / s != i / s); });
      break;
    default:
      sets.direct = where(n, [&](Index j) { return (j / s == i / s || j % s == i % s) && up_to(j); });
      if (config.pattern != CombinerPattern::horizontal) add_vertical(sets, s, causal, i, n);
      if (config.pattern != CombinerPattern::vertical) add_horizontal(sets, s, causal, i, n);
  }
  return sets;
}

namespace {

struct Head {  // of one sample
  std::vector<Row> q, k, v;
  std::vector<bool> real;
  double scale;
};

double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
  return sum;
}

// Softmax over scale q . k of the given keys, applied to the given values.
Row attend(const Row& q, double scale, const std::vector<Row>& k, const std::vector<Row>& v) {
  double sum = 0, top = -1e300;
  for (const Row& key : k) top = std::max(top, scale * dot(q, key));
  Row out(v.empty() ? 0 : v[0].size(), 0);
  for (std::size_t j = 0; j < k.size(); ++j) {
    const double weight = std::exp(scale * dot(q, k[j]) - top);
    sum += weight;
    for (std::size_t c = 0; c < out.size(); ++c) out[c] += weight * v[j][c];
  }
  for (double& x : out) x /= sum;
  return out;
}

std::vector<Row> pick(const std::vector<Row>& rows, const std::vector<Index>& set) {
  std::vector<Row> picked;
  for (const Index j : set) picked.push_back(rows[static_cast<std::size_t>(j)]);
  return picked;
}

Row pool(std::vector<Row> rows, CombinerPool how, const Tensor& weight) {
  const int kind = static_cast<int>(how) / 3, reduction = static_cast<int>(how) % 3;  // as they are declared
  for (Row& row : rows) {
    Row made = row;
    for (std::size_t e = 0; kind == 2 && e < row.size(); ++e) {
      made[e] = 0;
      for (std::size_t f = 0; f < row.size(); ++f) made[e] += row[f] * weight.data<double>()[f * row.size() + e];
    }
    for (double& x : made) x = kind > 0 ? std::max(x, 0.0) : x;
    row = made;
  }
  Row pooled = rows[0];
  for (std::size_t r = 1; r < rows.size(); ++r)
    for (std::size_t e = 0; e < pooled.size(); ++e)
      pooled[e] = reduction == 0 ? std::max(pooled[e], rows[r][e]) : pooled[e] + rows[r][e];
  for (double& x : pooled) x = reduction == 1 ? x / static_cast<double>(rows.size()) : x;
  return pooled;
}

std::vector<Row> rows_of(const Tensor& x, Index b, Index h) {
  std::vector<Row> rows(static_cast<std::size_t>(x.dim(2)));
  for (Index i = 0; i < x.dim(2); ++i)
    for (Index e = 0; e < x.dim(3); ++e)
      rows[static_cast<std::size_t>(i)].push_back(x.data<double>()[((b * x.dim(1) + h) * x.dim(2) + i) * x.dim(3) + e]);
  return rows;
}

// The row summaries of a sample's tokens: keys and values per head.
struct RowSummaries {
  std::vector<std::vector<Row>> k, v;
};

std::vector<Index> real_row(const Head& head, Index s, Index i) {
  return where(static_cast<Index>(head.q.size()),
               [&](Index j) { return j / s == i / s && head.real[static_cast<std::size_t>(j)]; });
}

// LayerNorm(merged w_o + x) w_k, for one token
Row project(const Row& merged, const double* x, const nn::CombinerLearned& learned) {
  const Tensor w_o = doubles(learned.w_o.value()), w_k = doubles(learned.w_k.value());
  const Tensor gamma = doubles(learned.gamma.value()), beta = doubles(learned.beta.value());
  const Index width = w_o.dim(1);
  Row y(x, x + width);
  double mean = 0, variance = 0;
  for (Index d = 0; d < width; ++d) {
    double& to = y[static_cast<std::size_t>(d)];
    for (std::size_t c = 0; c < merged.size(); ++c) to += merged[c] * at(w_o, {static_cast<Index>(c), d});
    mean += to / static_cast<double>(width);
  }
  for (const double d : y) variance += (d - mean) * (d - mean) / static_cast<double>(width);
  Row key(static_cast<std::size_t>(w_k.dim(1)), 0);
  for (Index d = 0; d < width; ++d) {
    const double normed = (y[static_cast<std::size_t>(d)] - mean) / std::sqrt(variance + learned.epsilon);
    for (Index e = 0; e < w_k.dim(1); ++e)
      key[static_cast<std::size_t>(e)] += (normed * at(gamma, d) + at(beta, d)) * at(w_k, {d, e});
  }
  return key;
}

RowSummaries summarise_rows(const std::vector<Head>& heads, Index b, const CombinerConfig& config,
                            const nn::CombinerLearned& learned) {
  const Index n = static_cast<Index>(heads[0].q.size()), s = std::min(config.segment, n);
  RowSummaries all;
  for (const Head& head : heads) {
    all.k.emplace_back(head.k);
    all.v.emplace_back(head.v);
    for (Index i = 0; i < n; ++i) {
      const std::vector<Index> row = real_row(head, s, i);
      const auto at_i = static_cast<std::size_t>(i);
      if (!head.real[at_i]) continue;
      const auto over_row = [&](const std::vector<Row>& x) {
        return attend(head.q[at_i], head.scale, pick(head.k, row), pick(x, row));
      };
      all.v.back()[at_i] = over_row(head.v);
      if (config.summary == CombinerSummary::wsum || config.summary == CombinerSummary::wsum_proj)
        all.k.back()[at_i] = over_row(head.k);
    }
  }
  if (config.summary == CombinerSummary::none || config.summary == CombinerSummary::wsum) return all;
  const Tensor x = doubles(learned.x.value());
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    if (!heads[0].real[i]) continue;
    Row merged;
    for (std::size_t h = 0; h < heads.size(); ++h) {
      const Row& part = config.summary == CombinerSummary::proj ? all.v[h][i] : all.k[h][i];
      merged.insert(merged.end(), part.begin(), part.end());
    }
    const Row key = project(merged, x.data<double>() + (b * n + static_cast<Index>(i)) * x.dim(2), learned);
    const std::size_t width = heads[0].k[0].size();
    for (std::size_t h = 0; h < heads.size(); ++h)
      all.k[h][i].assign(key.begin() + static_cast<std::ptrdiff_t>(h * width),
                         key.begin() + static_cast<std::ptrdiff_t>((h + 1) * width));
  }
  return all;
}

}  // namespace

Tensor combiner(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask, const CombinerConfig& config,
                bool causal, const nn::CombinerLearned& learned) {
  if (config.pattern == CombinerPattern::average) {
    CombinerConfig half = config;
    half.pattern = CombinerPattern::vertical;
    Tensor sum = combiner(q, k, v, mask, half, causal, learned);
    half.pattern = CombinerPattern::horizontal;
    const Tensor other = combiner(q, k, v, mask, half, causal, learned);
    for (Index i = 0; i < sum.size(); ++i)
      sum.data<double>()[i] = (sum.data<double>()[i] + other.data<double>()[i]) / 2;
    return sum;
  }
  const Tensor queries = doubles(q), keys = doubles(k), values = doubles(v);
  const Tensor none = {}, pool_q = learned.pool_q.defined() ? doubles(learned.pool_q.value()) : none,
               pool_k = learned.pool_k.defined() ? doubles(learned.pool_k.value()) : none;
  const Index n = q.dim(2), width = v.dim(3);
  Tensor out = zeros(v.shape(), kFloat64, kCpu);
  for (Index b = 0; b < q.dim(0) && n > 0; ++b) {
    std::vector<Head> heads;
    for (Index h = 0; h < q.dim(1); ++h) {
      heads.push_back({rows_of(queries, b, h),
                       rows_of(keys, b, h),
                       rows_of(values, b, h),
                       {},
                       1 / std::sqrt(static_cast<double>(q.dim(3)))});
      for (Index i = 0; i < n; ++i) heads.back().real.push_back(is_real(mask, b, i));
    }
    RowSummaries rows;
    if (config.pattern == CombinerPattern::rowmajor) rows = summarise_rows(heads, b, config, learned);
    for (std::size_t h = 0; h < heads.size(); ++h)
      for (Index i = 0; i < n; ++i) {
        const Head& head = heads[h];
        const auto keep = [&](const std::vector<Index>& set) {
          std::vector<Index> kept;
          for (const Index j : set)
            if (head.real[static_cast<std::size_t>(j)]) kept.push_back(j);
          return kept;
        };
        if (!head.real[static_cast<std::size_t>(i)]) continue;
        const Sets sets = combiner_sets(config, causal, i, n);
        std::vector<Row> seen_k = pick(head.k, keep(sets.direct)), seen_v = pick(head.v, keep(sets.direct));
        for (const auto& members : sets.spans) {
          const std::vector<Index> span = keep(members);
          if (span.empty()) continue;
          seen_k.push_back(pool(pick(head.k, span), config.pool, pool_k));
          seen_v.push_back(attend(pool(pick(head.q, span), config.pool, pool_q), head.scale, pick(head.k, span),
                                  pick(head.v, span)));
        }
        for (const Index token : keep(sets.tokens)) {
          seen_k.push_back(rows.k[h][static_cast<std::size_t>(token)]);
          seen_v.push_back(rows.v[h][static_cast<std::size_t>(token)]);
        }
        const Row row = attend(head.q[static_cast<std::size_t>(i)], head.scale, seen_k, seen_v);
        std::copy(row.begin(), row.end(),
                  out.data<double>() + ((b * q.dim(1) + static_cast<Index>(h)) * n + i) * width);
      }
  }
  return out;
}

}  // namespace subquad::test::slow
