// Pictures of exact attention and of its nearest keys alone.
#include <algorithm>
#include <cmath>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"

namespace subquad::pictures {

namespace {

constexpr Index kTile = 8;
constexpr double kLeft = 356, kBar = 18;  // of the charts of one row

std::vector<double> logits(Index query) {
  const QueriesAndKeys qk = queries_and_keys();
  const Tensor queries = qk.q.contiguous(), keys = qk.k.contiguous();
  const auto q = queries.view<const double, 4>(), k = keys.view<const double, 4>();
  std::vector<double> all;
  for (Index j = 0; j < kTokens; ++j) {
    double dot = 0;
    for (Index e = 0; e < kFeatures; ++e) dot += q(0, 0, query, e) * k(0, 0, j, e);
    all.push_back(dot / std::sqrt(static_cast<double>(kFeatures)));
  }
  return all;
}

// The running maximum and sum after each tile of keys.
void draw_tiles(Svg& svg, const std::vector<double>& s, double y) {
  double most = -INFINITY, sum = 0;
  for (Index first = 0; first < kTokens; first += kTile) {
    const double before = most, x = kLeft + static_cast<double>(first) * kBar;
    for (Index j = first; j < first + kTile; ++j) most = std::max(most, s[static_cast<std::size_t>(j)]);
    sum *= std::exp(before - most);
    for (Index j = first; j < first + kTile; ++j) sum += std::exp(s[static_cast<std::size_t>(j)] - most);
    svg.outline(x + 2, y, kTile * kBar - 4, 40);
    svg.text(x + kTile * kBar / 2, y + 17, cat("m = ", digits(most, 2)), {.anchor = Anchor::middle});
    svg.text(x + kTile * kBar / 2, y + 33, cat("l = ", digits(sum, 2)), {.anchor = Anchor::middle});
    if (first > 0) svg.arrow(x - 6, y + 20, x + 2, y + 20);
  }
  svg.text(kLeft + 2, y + 62, cat("ln Σ eˢ = m + ln l = ", digits(most + std::log(sum), 2)));
  svg.text(kLeft + 2, y + 80, "Three tiles of 8 keys: nothing but m, l and the sum of values travels on;", kRemark);
  svg.text(kLeft + 2, y + 96, "where m grows, l and that sum are multiplied by e^(old m − new m).", kRemark);
}

}  // namespace

std::string softmax() {
  Svg svg(kWide, 440, "Softmax attention: the matrix, and one of its rows read tile by tile");
  const Tensor matrix = softmax_matrix();
  const Grid grid{.x = 48, .y = 78, .cell = 10};
  heading(svg, grid.x, 28, "A = softmax(q kᵀ / √E)", "24 tokens; row i: what query i takes of each key");
  svg.matrix(matrix, grid);
  tokens_along(svg, grid, kTokens);
  svg.outline(grid.x - 1, grid.top(kQuery) - 1, 242, 12, "strong");
  svg.line(grid.x + 241, grid.top(kQuery) + 5, kLeft - 10, grid.top(kQuery) + 5, "dashed");
  legend(svg, grid.x, grid.y + 270, largest(matrix));
  svg.text(grid.x, grid.y + 324, "Bright columns: tokens 5 and 18 stand out.", kRemark);
  svg.text(grid.x, grid.y + 341, "Diagonals: neighbours, and tokens 8 apart.", kRemark);

  const std::vector<double> s = logits(kQuery);
  heading(svg, kLeft, 28, cat("Row ", kQuery, ": logits s = q·k / √E"), "");
  bars(svg, s, {.x = kLeft, .y = 40, .step = kBar, .height = 78}, [](Index) { return Mark{.ink = Ink::grey}; });
  draw_tiles(svg, s, 142);
  heading(svg, kLeft, 268, "its weights e^(s − ln Σ eˢ): they sum to 1", "");
  bars(svg, row_of(matrix, kQuery), {.x = kLeft, .y = 280, .step = kBar, .height = 96});
  for (Index j = 0; j < kTokens; ++j)
    svg.text(kLeft + (static_cast<double>(j) + 0.5) * kBar, 392, cat(j), {.anchor = Anchor::middle, .size = 11});
  svg.text(kLeft, 414, "key", kRemark);
  return svg.str();
}

std::string local() {
  Svg svg(kWide, 310, "Local attention: the band of the nearest keys");
  const Tensor exact = softmax_matrix();
  nn::AttentionConfig config{.kind = "local", .local = {.window = 3}};
  const Tensor near = mixing_matrix(config);
  const Grid all{.x = 48, .y = 68, .cell = 8, .most = largest(near)},
      band{.x = 312, .y = 68, .cell = 8, .most = largest(near)};
  heading(svg, all.x, 28, "softmax", "every key");
  svg.matrix(exact, all);
  tokens_along(svg, all, kTokens);
  heading(svg, band.x, 28, "local, window 3", "keys i − 3 ... i + 3, weights that sum to 1");
  svg.matrix(near, band);
  tokens_along(svg, band, kTokens);
  legend(svg, 560, 80, all.most);
  svg.text(560, 140, "Neighbours share the whole weight,");
  svg.text(560, 158, "so the band is darker.");
  svg.text(560, 190, cat("Of softmax's weight it holds ", digits(100 * mass(exact, near), 0), " %."));
  svg.text(560, 222, "Nothing beyond is seen, however alike:");
  svg.text(560, 240, "the diagonals 8 apart are gone.");
  return svg.str();
}

}  // namespace subquad::pictures
