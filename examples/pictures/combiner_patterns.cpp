// The picture of Combiner's patterns: who sees what, by the pattern alone.
#include <algorithm>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::pictures {

namespace {

using nn::CombinerPattern;

constexpr Index kSegment = 6;

struct Panel {
  CombinerPattern pattern;
  std::string_view remark;
};

constexpr Panel kPanels[] = {{CombinerPattern::fixed, "other segments"},
                             {CombinerPattern::logsparse, "blocks of 2, 4, 8, ..."},
                             {CombinerPattern::rowmajor, "other rows"},
                             {CombinerPattern::vertical, "columns above and below"},
                             {CombinerPattern::horizontal, "rows left and right"},
                             {CombinerPattern::mixture, "both in one softmax"},
                             {CombinerPattern::average, "mean of the two"}};

bool is_line(CombinerPattern pattern) {
  return pattern == CombinerPattern::fixed || pattern == CombinerPattern::logsparse;
}

nn::CombinerConfig config_of(CombinerPattern pattern) {
  return {.pattern = pattern,
          .segment = pattern == CombinerPattern::logsparse ? 0 : kSegment,
          .summary = pattern == CombinerPattern::rowmajor ? nn::CombinerSummary::none : nn::CombinerSummary::proj};
}

Tensor weights_at_zero(CombinerPattern pattern) {  // [N, N], of queries of 0
  const Variable zero(zeros({1, 1, kTokens, 1}, kFloat64, kCpu));
  const Variable values(unit(kTokens).reshape({1, 1, kTokens, kTokens}));
  return nn::combiner_attention(zero, zero, values, {}, config_of(pattern), false)
      .out.value()
      .select(0, 0)
      .select(0, 0);
}

// The query's sight on the sequence: its direct tokens filled, a frame around each span that it sees as a whole. Where
// rows and columns are both summarised, the frames of rows lie inside.
void draw_sight(Svg& svg, CombinerPattern pattern, const nn::CombinerSight& sight, double x, double y) {
  const Index columns = is_line(pattern) ? kTokens : kSegment;
  const double side = is_line(pattern) ? 7 : 22, high = 22;
  const auto left = [&](Index j) { return x + static_cast<double>(j % columns) * side; };
  const auto top = [&](Index j) { return y + static_cast<double>(j / columns) * high; };
  for (Index j = 0; j < kTokens; ++j) svg.outline(left(j), top(j), side, high);
  for (const Index j : sight.direct[kQuery])
    svg.bar(left(j) + 1, top(j) + 1, side - 2, high - 2, Ink::blue, j == kQuery ? 10 : 5);
  const bool both = pattern == CombinerPattern::mixture || pattern == CombinerPattern::average;
  for (const Index s : sight.summaries[kQuery]) {
    const auto number = static_cast<std::size_t>(s);
    const std::vector<Index>& tokens = sight.tokens[number];
    const double inset = both && number >= sight.tokens.size() / 2 ? 7 : 3;
    const double width = left(tokens.back()) + side - left(tokens.front()) - 2 * inset;
    const double height = top(tokens.back()) + high - top(tokens.front()) - 2 * inset;
    svg.bar(left(tokens.front()) + inset, top(tokens.front()) + inset, width, height, Ink::orange, 4);
    svg.outline(left(tokens.front()) + inset, top(tokens.front()) + inset, width, height, "strong");
  }
}

void draw_panel(Svg& svg, const Panel& panel, double x, double y) {
  const Tensor weights = weights_at_zero(panel.pattern);
  const nn::CombinerSight sight = nn::combiner_sight(config_of(panel.pattern), false, kTokens);
  heading(svg, x, y, nn::combiner_pattern_name(panel.pattern), panel.remark);
  // A darkest shade a little above the largest weight: 1 / 16 of that would stand on the border between two shades.
  const Grid grid{.x = x, .y = y + 30, .cell = 7, .most = 1.1 * largest(weights)};
  svg.matrix(weights, grid, [&](Index i, Index j) {
    const std::vector<Index>& direct = sight.direct[static_cast<std::size_t>(i)];
    return std::find(direct.begin(), direct.end(), j) != direct.end() ? kDirect : kSummary;
  });
  svg.outline(grid.x - 1, grid.top(kQuery) - 1, kTokens * 7 + 2, 9, "strong");
  draw_sight(svg, panel.pattern, sight, x, y + 212);
}

}  // namespace

std::string combiner_patterns() {
  Svg svg(kWide, 690, "Combiner: which tokens are direct and which spans are summarised, per pattern");
  double x = 24, y = 30;
  for (const Panel& panel : kPanels) {
    draw_panel(svg, panel, x, y);
    x += 204;
    if (x > 700) {
      x = 24;
      y += 330;
    }
  }
  double at = 384;
  for (const std::string_view words :
       {"The matrix is that of logits", "of 0: a shade tells how many", "tokens share an entry.", "",
        "Below it, what query 14", "sees: on the line, or on a", "grid of 4 rows of 6. A frame",
        "is a summary, of all tokens", "in it."}) {
    at += words.empty() ? 10 : 16;
    if (!words.empty()) svg.text(636, at, words, kRemark);
  }
  svg.cell({.x = 636, .y = at + 18, .cell = 12}, 0, 0, kDirect, 9);
  svg.text(654, at + 29, "direct token", {.size = 12});
  svg.cell({.x = 636, .y = at + 38, .cell = 12}, 0, 0, kSummary, 9);
  svg.text(654, at + 49, "through a summary", {.size = 12});
  return svg.str();
}

}  // namespace subquad::pictures
