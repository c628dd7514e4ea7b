// The picture of Combiner's idea.
#include <algorithm>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"

namespace subquad::pictures {

namespace {

constexpr Index kSegment = 6, kRows = kTokens / kSegment;
constexpr double kLeft = 372, kBar = 18;  // of the charts of one row

// The entries of one query's softmax: its own segment's tokens, and the other segments as one each.
void draw_entries(Svg& svg, const std::vector<double>& row, double y) {
  constexpr double kHeight = 120;
  std::vector<double> shares(static_cast<std::size_t>(kRows), 0);
  for (std::size_t j = 0; j < row.size(); ++j) shares[j / kSegment] += row[j];
  double most = 0;
  for (std::size_t j = 0; j < row.size(); ++j)
    most = std::max(most, j / kSegment == kQuery / kSegment ? row[j] : shares[j / kSegment]);
  const auto height = [&](double share) { return static_cast<double>(steps(share, most / kHeight)); };
  for (Index g = 0; g < kRows; ++g) {
    const double x = kLeft + static_cast<double>(g * kSegment) * kBar, share = shares[static_cast<std::size_t>(g)];
    if (g == kQuery / kSegment) {
      for (Index j = 0; j < kSegment; ++j) {
        const double h = height(row[static_cast<std::size_t>(g * kSegment + j)]);
        svg.bar(x + static_cast<double>(j) * kBar + 2, y + kHeight - h, kBar - 4, h, Ink::blue, 9);
      }
      continue;
    }
    svg.bar(x + 3, y + kHeight - height(share), kSegment * kBar - 6, height(share), Ink::orange, 5);
    svg.outline(x + 3, y + kHeight - height(share), kSegment * kBar - 6, height(share));
    svg.text(x + kSegment * kBar / 2, y + kHeight - height(share) - 5, digits(share, 3),
             {.anchor = Anchor::middle, .size = 12});
  }
  svg.line(kLeft, y + kHeight, kLeft + kTokens * kBar, y + kHeight);
}

}  // namespace

std::string combiner() {
  Svg svg(kWide, 440, "Combiner, pattern fixed: one query's entries, and the matrix that they make");
  const Tensor matrix = mixing_matrix({.kind = "combiner", .combiner = {.segment = kSegment}});
  const std::vector<double> row = row_of(matrix, kQuery);
  const Grid grid{.x = 48, .y = 78, .cell = 11};
  heading(svg, grid.x, 28, "the matrix", "every pair has a weight; four segments of six");
  svg.matrix(matrix, grid, [](Index i, Index j) { return i / kSegment == j / kSegment ? kDirect : kSummary; });
  tokens_along(svg, grid, kTokens);
  for (Index g = 1; g < kRows; ++g) {
    svg.line(grid.x, grid.top(g * kSegment), grid.left(kTokens), grid.top(g * kSegment));
    svg.line(grid.left(g * kSegment), grid.y, grid.left(g * kSegment), grid.top(kTokens));
  }
  svg.outline(grid.x - 1, grid.top(kQuery) - 1, kTokens * 11 + 2, 13, "strong");
  direct_legend(svg, grid.x, 362);
  svg.text(grid.x, 396, "A block off the diagonal has rank 1:", kRemark);
  svg.text(grid.x, 412, "its rows differ by a factor alone, what", kRemark);
  svg.text(grid.x, 428, "the whole segment is worth to the query.", kRemark);

  heading(svg, kLeft, 28, cat("Query ", kQuery, ": one softmax of 9 entries"), "");
  draw_entries(svg, row, 52);
  heading(svg, kLeft, 218, "The same, token by token", "");
  bars(svg, row, {.x = kLeft, .y = 240, .step = kBar, .height = 120},
       [](Index j) { return Mark{.ink = j / kSegment == kQuery / kSegment ? Ink::blue : Ink::orange}; });
  for (Index j = 0; j < kTokens; ++j)
    svg.text(kLeft + (static_cast<double>(j) + 0.5) * kBar, 376, cat(j), {.anchor = Anchor::middle, .size = 11});
  for (Index g = 1; g < kRows; ++g) {
    const double x = kLeft + static_cast<double>(g * kSegment) * kBar;
    svg.line(x, 46, x, 180, "dotted");
    svg.line(x, 236, x, 380, "dotted");
  }
  svg.text(kLeft, 400, "A summary has one logit, q · k_S, however many tokens stand", kRemark);
  svg.text(kLeft, 416, "behind it. Its share is spread by p(j | S), alike for all queries.", kRemark);
  return svg.str();
}

}  // namespace subquad::pictures
