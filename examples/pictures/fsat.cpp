// Pictures of FSAT, our reconstruction.
#include <algorithm>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/nn/attention/fsat.h"

namespace subquad::pictures {

namespace {

constexpr Index kBudget = 8;  // lags and columns

nn::AttentionConfig config() {
  return {.kind = "fsat", .fsat = {.lags = 5, .columns = 3, .window = 1}};
}

std::vector<Index> chosen(const Tensor& list) {  // [1, 1, count], -1 behind the last one
  std::vector<Index> all;
  const Tensor numbers = list.contiguous();
  for (const std::int64_t number : numbers.span<std::int64_t>())
    if (number >= 0) all.push_back(number);
  return all;
}

bool holds(const std::vector<Index>& list, Index number) {
  return std::find(list.begin(), list.end(), number) != list.end();
}

std::string listed(const std::vector<Index>& numbers) {
  std::string out;
  for (const Index number : numbers) out += cat(out.empty() ? "" : ", ", number);
  return out;
}

// Softmax's mass on the kBudget largest weights of each row: what no choice of so many keys can exceed.
double best_mass(const Tensor& exact) {
  double sum = 0;
  for (Index i = 0; i < exact.dim(0); ++i) {
    std::vector<double> row = row_of(exact, i);
    std::sort(row.begin(), row.end(), std::greater<>());
    for (Index j = 0; j < kBudget; ++j) sum += row[static_cast<std::size_t>(j)];
  }
  return sum / static_cast<double>(exact.dim(0));
}

// What a lag and a column of the products are: a 6 x 6 matrix with one of each.
void draw_pooling(Svg& svg, double x, double y) {
  constexpr Index kSide = 6, kLag = 2, kColumn = 1;
  const Grid grid{.x = x, .y = y, .cell = 16};
  for (Index i = 0; i <= kSide; ++i) {
    svg.line(x, grid.top(i), x + kSide * 16, grid.top(i));
    svg.line(grid.left(i), y, grid.left(i), y + kSide * 16);
  }
  for (Index i = 0; i < kSide; ++i) {
    svg.cell(grid, i, kColumn, {.shape = Shape::disc, .ink = Ink::orange}, 10);
    if ((i + kLag) % kSide != kColumn) svg.cell(grid, i, (i + kLag) % kSide, {}, 9);
  }
  svg.cell(grid, 5, kColumn, {}, 4);
  svg.text(x + 110, y + 14, "Every cell is one product of two tokens' features, a_i ⊙ b_j: n² of them.");
  svg.cell({.x = x + 110, .y = y + 26, .cell = 12}, 0, 0, {}, 9);
  svg.text(x + 128, y + 37, "lag t: the mean of the diagonal j = i + t, which runs on at the left edge (here t = 2).");
  svg.text(x + 128, y + 55, "All n of them at once are a circular correlation, made by FFT: O(n log n).");
  svg.cell({.x = x + 110, .y = y + 66, .cell = 12}, 0, 0, {.shape = Shape::disc, .ink = Ink::orange}, 10);
  svg.text(x + 128, y + 77, "column j: the mean of a column (here j = 1), the mean of a times b_j: O(n).");
  svg.text(x + 110, y + 98, "A small network scores each lag and each column; a head keeps the best of both.");
}

void draw_scores(Svg& svg, const Tensor& scores, const std::vector<Index>& kept, double y, Shape shape, Ink ink,
                 std::string_view name) {
  const Chart chart{.x = 316, .y = y, .step = 9, .height = 76};
  svg.text(chart.x, y - 10, name, {.bold = true});
  bars(svg, row_of(scores, 0), chart,
       [&](Index i) { return holds(kept, i) ? Mark{.shape = shape, .ink = ink} : Mark{.shape = Shape::small_square}; });
  for (Index i = 0; i < kTokens; i += 6)
    svg.text(chart.x + (static_cast<double>(i) + 0.5) * chart.step, y + 90, cat(i),
             {.anchor = Anchor::middle, .size = 10, .soft = true});
}

}  // namespace

std::string fsat() {
  Svg svg(kWide, 488, "FSAT, our reconstruction: scores of diagonals and columns, and the entries that are chosen");
  const auto attention = small_attention(config());
  const nn::FsatAttention::Decision decision = dynamic_cast<const nn::FsatAttention&>(*attention).decide(input());
  const std::vector<Index> lags = chosen(decision.chosen.lags), columns = chosen(decision.chosen.columns);
  const Tensor exact = softmax_matrix(), sparse = mixing_matrix(config());
  draw_pooling(svg, 40, 28);

  const Grid left{.x = 48, .y = 208, .cell = 9, .most = largest(sparse)};
  Grid right = left;
  right.x = 584;
  heading(svg, left.x, 172, "softmax", "has diagonals and columns");
  svg.matrix(exact, left);
  tokens_along(svg, left, kTokens);
  draw_scores(svg, decision.scores.lag.value().select(0, 0), lags, 208, Shape::square, Ink::blue,
              "score of lag t: its mean logit");
  draw_scores(svg, decision.scores.col.value().select(0, 0), columns, 332, Shape::square, Ink::orange,
              "score of column j, likewise");
  svg.text(316, 440, "filled bars are kept:", kRemark);
  heading(svg, right.x, 172, "the chosen entries alone", "softmax over them; no key twice");
  svg.matrix(sparse, right, [&](Index i, Index j) {
    const bool lag = holds(lags, (j - i + kTokens) % kTokens);
    return lag ? Mark{} : Mark{.shape = Shape::disc, .ink = Ink::orange};
  });
  tokens_along(svg, right, kTokens);
  svg.text(316, 456, cat("lags ", listed(lags), "; columns ", listed(columns)), kRemark);
  svg.text(584, 456, cat("hold ", digits(100 * mass(exact, sparse), 0), " % of softmax's weight; the"), kRemark);
  svg.text(584, 472, cat("best ", kBudget, " keys of each row hold ", digits(100 * best_mass(exact), 0), " %"),
           kRemark);
  return svg.str();
}

}  // namespace subquad::pictures
