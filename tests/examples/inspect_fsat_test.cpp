// inspect_attention: what FSAT (our reconstruction) decided, as plain loops over its parameters find it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/tests/examples/looked_loops.h"

using namespace subquad;
using namespace subquad::test::inspected;

namespace {

// Both features of one channel: lag[t] = 1/n sum_i a_i (b_(i+t) - mean b), a less its mean; col[j] = mean a (b_j - mean
// b).
struct Crossed {
  Row lag, column;
};
Crossed crossed(const Rows& a, const Rows& b, std::size_t channel) {
  const std::size_t n = a.size();
  double a_mean = 0, b_mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    a_mean += a[i][channel] / static_cast<double>(n);
    b_mean += b[i][channel] / static_cast<double>(n);
  }
  Crossed made{Row(n), Row(n)};
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const double share = (b[j][channel] - b_mean) / static_cast<double>(n);
      made.lag[(j + n - i) % n] += (a[i][channel] - a_mean) * share;
      made.column[j] += a[i][channel] * share;
    }
  return made;
}

// u f + w2 gelu(f w1 + b1) for each position's features; [R][N].
Row scores(const Rows& features, const Subject& subject, const std::string& of, Index head) {
  const Row u = rows_of(parameter(subject, of + ".u"))[static_cast<std::size_t>(head)],
            b1 = rows_of(parameter(subject, of + ".b1"))[static_cast<std::size_t>(head)],
            w2 = rows_of(parameter(subject, of + ".w2"))[static_cast<std::size_t>(head)];
  const Rows w1 = rows_of(parameter(subject, of + ".w1").select(0, head));
  Row found(features[0].size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (std::size_t r = 0; r < u.size(); ++r) found[i] += u[r] * features[r][i];
    for (std::size_t m = 0; m < b1.size(); ++m) {
      double z = b1[m];
      for (std::size_t r = 0; r < u.size(); ++r) z += features[r][i] * w1[r][m];
      found[i] += w2[m] * z / 2 * (1 + std::erf(z / std::sqrt(2.0)));
    }
  }
  return found;
}

// The best `count`, in rising order.
std::vector<Index> best(const Row& score, std::size_t count) {
  std::vector<Index> order(score.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::stable_sort(
      order, [&](Index a, Index b) { return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)]; });
  order.resize(count);
  std::ranges::sort(order);
  return order;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("inspect page: FSAT's cross features, scores and columns are the loops'") {
  const Looked page(
      {"--attention", "fsat", "--heads", "2", "--lags", "7", "--columns", "3", "--fsat-window", "1", "--cross", "3",
       "--fsat-hidden", "4"},
      [](const Subject& fresh_one) {
        for (const std::string name : {"lag_head.w2", "col_head.w2", "lag_head.b1", "col_head.b1", "cross_a.bias"}) {
          Tensor numbers = parameter(fresh_one, name);  // they begin as 0
          for (Index i = 0; i < numbers.size(); ++i)
            numbers.data<float>()[i] = static_cast<float>(std::sin(1.0 + 3.0 * static_cast<double>(i))) / 2;
        }
      });
  const Subject& model = page.subject;
  const Rows x = rows_of(page.layer().in.data.value().select(0, 0));
  const Rows a = mapped(x, parameter(model, "cross_a.weight"), row_of(parameter(model, "cross_a.bias"))),
             b = mapped(x, parameter(model, "cross_b.weight"), Row(6));
  Rows last;  // of the other head
  for (Index h = 0; h < 2; ++h) {
    Rows lag, column;
    for (std::size_t r = 0; r < 3; ++r) {
      const Crossed one = crossed(a, b, static_cast<std::size_t>(h) * 3 + r);
      lag.push_back(one.lag);
      column.push_back(one.column);
    }
    check_cells(decided(page, h, "lag features"), lag);
    if (h > 0) CHECK_GT(apart_of_scale(cells_of(decided(page, h, "lag features").at("cells")[0]), last), 1e-2);
    last = lag;
    check_cells(decided(page, h, "column features"), column);
    const Json& parts = page.head(h).at("sections")[2].at("parts");
    const Row lag_score = scores(lag, model, "lag_head", h), column_score = scores(column, model, "col_head", h);
    check_curve(parts[0].at("charts")[0].at("lines")[0], lag_score);
    check_curve(parts[0].at("charts")[1].at("lines")[0], column_score);
    std::vector<Index> marked;
    for (const Json& point : parts[0].at("charts")[1].at("marks")) marked.push_back(point[0].get<Index>());
    std::ranges::sort(marked);
    CHECK_EQ(marked, best(column_score, 3));
  }
}

TEST_SUITE_END();
