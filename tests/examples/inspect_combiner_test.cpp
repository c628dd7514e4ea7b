// inspect_attention: Combiner's direct weights and summaries, as plain loops over its parameters find them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "subquad/tests/examples/looked_loops.h"

using namespace subquad;
using namespace subquad::test::inspected;

namespace {

// Columns [h width, (h + 1) width) of a projection.
Rows head_of(const Rows& all, Index h, std::size_t width) {
  Rows rows;
  for (const Row& row : all) {
    const auto first = row.begin() + h * static_cast<Index>(width);
    rows.emplace_back(first, first + static_cast<Index>(width));
  }
  return rows;
}

double logit(const Row& q, const Row& k) {
  return std::inner_product(q.begin(), q.end(), k.begin(), 0.0) / std::sqrt(static_cast<double>(q.size()));
}

Row row_sums_of(const Rows& matrix) {
  Row sums;
  for (const Row& row : matrix) sums.push_back(std::accumulate(row.begin(), row.end(), 0.0));
  return sums;
}

void divide_by_sum(Row& row, double sum) {
  for (double& x : row) x /= sum;
}

struct FixedCombiner {
  Rows direct, summaries, local;  // [N][N], [N][S], [S][N]
};

// Segments as summaries, by the maximum of their queries and keys; a query's own segment is direct.
FixedCombiner fixed_combiner(const Rows& q, const Rows& k, std::size_t segment) {
  const std::size_t n = q.size(), spans = (n + segment - 1) / segment;
  FixedCombiner made{Rows(n, Row(n)), Rows(n, Row(spans)), Rows(spans, Row(n))};
  Rows pooled_q(spans, Row(q[0].size(), -INFINITY)), pooled_k = pooled_q;
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t e = 0; e < q[j].size(); ++e) {
      pooled_q[j / segment][e] = std::max(pooled_q[j / segment][e], q[j][e]);
      pooled_k[j / segment][e] = std::max(pooled_k[j / segment][e], k[j][e]);
    }
  for (std::size_t s = 0; s < spans; ++s) {
    double sum = 0;
    for (std::size_t j = s * segment; j < std::min(n, (s + 1) * segment); ++j)
      sum += made.local[s][j] = std::exp(logit(pooled_q[s], k[j]));
    divide_by_sum(made.local[s], sum);
  }
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j)
      if (j / segment == i / segment) sum += made.direct[i][j] = std::exp(logit(q[i], k[j]));
    for (std::size_t s = 0; s < spans; ++s)
      if (s != i / segment) sum += made.summaries[i][s] = std::exp(logit(q[i], pooled_k[s]));
    divide_by_sum(made.direct[i], sum);
    divide_by_sum(made.summaries[i], sum);
  }
  return made;
}

Rows cells_in_rows(const Json& picture) {
  const std::vector<double> cells = cells_of(picture.at("cells")[0]);
  const auto width = picture.at("columns").at("count").get<Index>();
  REQUIRE_EQ(std::ssize(cells), picture.at("rows").at("count").get<Index>() * width);
  Rows rows;
  for (auto cell = cells.begin(); cell != cells.end(); cell += width) rows.emplace_back(cell, cell + width);
  return rows;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: Combiner's direct weights, block summaries and what they are made of are the loops'") {
  const Looked page({"--attention", "combiner", "--heads", "2", "--segment", "4"});
  const Rows x = rows_of(page.layer().in.values.value().select(0, 0));
  const auto of = [&](const std::string& name) {
    return mapped(x, parameter(page.subject, name + ".weight"), row_of(parameter(page.subject, name + ".bias")));
  };
  const Rows queries = of("query"), keys = of("key");
  for (Index h = 0; h < 2; ++h) {
    const FixedCombiner want = fixed_combiner(head_of(queries, h, 8), head_of(keys, h, 8), 4);
    check_cells(decided(page, h, "direct"), want.direct);
    check_cells(decided(page, h, "summaries"), want.summaries);
    check_cells(decided(page, h, "local"), want.local);
    const Json& lines = page.head(h).at("sections")[2].at("parts")[0].at("charts")[0].at("lines");
    check_curve(lines[0], row_sums_of(want.direct));
    check_curve(lines[1], row_sums_of(want.summaries));
  }
  const Json& names = decided(page, 0, "summaries").at("columns").at("names");
  CHECK_EQ(names[1].get<std::string>().substr(0, 5), "4–7");  // the dash has three bytes
  CHECK_EQ(names.back().get<std::string>().substr(0, 7), "16–17");
}

// Whichever the pattern: what a page's pictures of a head make together is its mixing matrix, and queries see directly
// what the pattern says.
TEST_CASE("inspect page: Combiner's pictures of every pattern make its mixing matrix") {
  const auto row = [](Index i, Index j) { return i / 4 == j / 4; };
  const auto cross = [row](Index i, Index j) { return row(i, j) || i % 4 == j % 4; };
  const std::vector<std::pair<std::string, std::function<bool(Index, Index)>>> patterns = {
      {"fixed", row},      {"logsparse", [](Index i, Index j) { return i / 2 == j / 2; }},
      {"vertical", cross}, {"horizontal", cross},
      {"mixture", cross},  {"average", cross},
      {"rowmajor", row}};
  for (const auto& [pattern, sees] : patterns) {
    CAPTURE(pattern);
    Args args = {"--attention", "combiner", "--heads", "2", "--combiner-pattern", pattern};
    if (pattern != "logsparse") args.insert(args.end(), {"--segment", "4"});
    const Looked page(args);
    for (Index h = 0; h < 2; ++h) {
      const Rows direct = cells_in_rows(decided(page, h, "direct")),
                 summaries = cells_in_rows(decided(page, h, "summaries")),
                 local = cells_in_rows(decided(page, h, "local"));
      const auto n = static_cast<Index>(direct.size());
      Rows mixing = product(summaries, local);
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) {
          const double weight = direct[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
          CHECK_EQ(weight > 1e-6, sees(i, j));
          mixing[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] += weight;
        }
      check_cells(*picture_of(page.data, page.head(h), "mixing"), mixing);
      const Json& lines = page.head(h).at("sections")[2].at("parts")[0].at("charts")[0].at("lines");
      check_curve(lines[0], row_sums_of(direct));
      check_curve(lines[1], row_sums_of(summaries));
    }
  }
}

TEST_SUITE_END();
