// Pictures of Combiner.
#include <algorithm>

#include "subquad/examples/pictures/parts.h"
#include "subquad/examples/pictures/pictures.h"
#include "subquad/kernels/block_attention/block_attention.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/nn/attention/combiner.h"

namespace subquad::pictures {

namespace {

using kernels::BlockKind;
using kernels::BlockPattern;
using nn::CombinerPattern;

constexpr Index kSegment = 6, kRows = kTokens / kSegment;
constexpr double kLeft = 372, kBar = 18;  // of the charts of one row

constexpr Mark kDirect{.shape = Shape::square, .ink = Ink::blue};
constexpr Mark kSummary{.shape = Shape::small_square, .ink = Ink::orange};

nn::AttentionConfig config_of(CombinerPattern pattern) {
  return {.kind = "combiner", .combiner = {.pattern = pattern, .segment = kSegment}};
}

void direct_legend(Svg& svg, double x, double y) {
  svg.cell({.x = x, .y = y, .cell = 12}, 0, 0, kDirect, 9);
  svg.text(x + 18, y + 11, "direct token", {.size = 12});
  svg.cell({.x = x + 108, .y = y, .cell = 12}, 0, 0, kSummary, 9);
  svg.text(x + 126, y + 11, "through a summary", {.size = 12});
}

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
  const Tensor matrix = mixing_matrix(config_of(CombinerPattern::fixed));
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
  svg.text(grid.x, 390, "A block off the diagonal has rank 1:", kRemark);
  svg.text(grid.x, 406, "its rows differ by a factor alone, what", kRemark);
  svg.text(grid.x, 422, "the whole segment is worth to the query.", kRemark);

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

namespace {

// What a query of a pattern sees: found by giving it logits of 0 and values that name the entry.
struct Seen {
  Tensor direct;                // [N, N]: above 0 where the token is seen itself
  std::vector<Tensor> summary;  // of each table [N, S]
};

Seen find_seen(const BlockPattern& pattern) {
  const std::vector<Index> sizes = kernels::summary_rows(pattern, kTokens);
  const auto nothing = [](Index rows, Index width) { return zeros({1, 1, rows, width}, kFloat64, kCpu); };
  const auto look = [&](std::size_t table) {  // 0: the tokens
    const Index width = table == 0 ? kTokens : sizes[table - 1];
    const auto values = [&](std::size_t owner, Index rows) {
      return owner == table ? unit(width).reshape({1, 1, width, width}) : nothing(rows, width);
    };
    std::vector<kernels::Summaries> summaries;
    for (std::size_t s = 0; s < sizes.size(); ++s) summaries.push_back({nothing(sizes[s], 1), values(s + 1, sizes[s])});
    const Tensor zero = nothing(kTokens, 1);
    return kernels::block_attention(zero, zero, values(0, kTokens), summaries, pattern).out.select(0, 0).select(0, 0);
  };
  Seen seen{.direct = look(0), .summary = {}};
  for (std::size_t s = 0; s < sizes.size(); ++s) seen.summary.push_back(look(s + 1));
  return seen;
}

// The tokens that row `number` of summary table `table` stands for.
std::vector<Index> span_tokens(BlockKind kind, std::size_t table, Index number) {
  std::vector<Index> tokens;
  if (kind == BlockKind::fixed || kind == BlockKind::logsparse) {
    const Tensor spans = kind == BlockKind::fixed ? kernels::segment_spans(kTokens, kSegment, kCpu)
                                                  : kernels::level_spans(kTokens, kCpu);
    const kernels::Span span = kernels::span_at(spans, 0, number, kTokens);
    for (Index j = span.begin; j < span.end; ++j) tokens.push_back(j);
    return tokens;
  }
  const bool along_column = kind == BlockKind::vertical || (kind == BlockKind::mixture && table < 2),
             after = table % 2 == 1;
  for (Index j = 0; j < kTokens; ++j) {
    const bool same = along_column ? j % kSegment == number % kSegment : j / kSegment == number / kSegment;
    if (same && (kind == BlockKind::rowmajor || (after ? j > number : j < number))) tokens.push_back(j);
  }
  return tokens;
}

struct Panel {
  CombinerPattern pattern;
  std::vector<BlockKind> kinds;
  std::string_view remark;
};

const std::vector<Panel>& panels() {
  static const std::vector<Panel> kAll = {
      {CombinerPattern::fixed, {BlockKind::fixed}, "other segments"},
      {CombinerPattern::logsparse, {BlockKind::logsparse}, "blocks of 2, 4, 8, ..."},
      {CombinerPattern::rowmajor, {BlockKind::rowmajor}, "other rows"},
      {CombinerPattern::vertical, {BlockKind::vertical}, "columns above and below"},
      {CombinerPattern::horizontal, {BlockKind::horizontal}, "rows left and right"},
      {CombinerPattern::mixture, {BlockKind::mixture}, "both in one softmax"},
      {CombinerPattern::average, {BlockKind::vertical, BlockKind::horizontal}, "mean of the two"}};
  return kAll;
}

Tensor weights_at_zero(CombinerPattern pattern) {  // [N, N], of queries of 0
  nn::CombinerConfig config{
      .pattern = pattern,
      .segment = pattern == CombinerPattern::logsparse ? 0 : kSegment,
      .summary = pattern == CombinerPattern::rowmajor ? nn::CombinerSummary::none : nn::CombinerSummary::proj};
  const Variable zero(zeros({1, 1, kTokens, 1}, kFloat64, kCpu));
  const Variable values(unit(kTokens).reshape({1, 1, kTokens, kTokens}));
  return nn::combiner_attention(zero, zero, values, {}, config, false).out.value().select(0, 0).select(0, 0);
}

bool is_grid(BlockKind kind) {
  return kind != BlockKind::fixed && kind != BlockKind::logsparse;
}

// The query's sight on the sequence: its direct tokens filled, a frame around each span that it sees as a whole.
void draw_sight(Svg& svg, BlockKind kind, const Seen& seen, double x, double y) {
  const Index columns = is_grid(kind) ? kSegment : kTokens;
  const double side = is_grid(kind) ? 22 : 7;
  const auto left = [&](Index j) { return x + static_cast<double>(j % columns) * side; };
  const auto top = [&](Index j) { return y + static_cast<double>(j / columns) * side; };
  for (Index j = 0; j < kTokens; ++j) {
    svg.outline(left(j), top(j), side, is_grid(kind) ? side : 22);
    if (seen.direct.view<const double, 2>()(kQuery, j) > 0)
      svg.bar(left(j) + 1, top(j) + 1, side - 2, is_grid(kind) ? side - 2 : 20, Ink::blue, j == kQuery ? 10 : 5);
  }
  for (std::size_t table = 0; table < seen.summary.size(); ++table)
    for (Index s = 0; s < seen.summary[table].dim(1); ++s) {
      if (seen.summary[table].view<const double, 2>()(kQuery, s) == 0) continue;
      const std::vector<Index> tokens = span_tokens(kind, table, s);
      const double inset = kind == BlockKind::mixture && table >= 2 ? 7 : 3;
      const double right = left(tokens.back()) + side, bottom = top(tokens.back()) + (is_grid(kind) ? side : 22);
      const double height = bottom - top(tokens.front()) - 2 * inset, width = right - left(tokens.front()) - 2 * inset;
      svg.bar(left(tokens.front()) + inset, top(tokens.front()) + inset, width, height, Ink::orange, 4);
      svg.outline(left(tokens.front()) + inset, top(tokens.front()) + inset, width, height, "strong");
    }
}

void draw_panel(Svg& svg, const Panel& panel, double x, double y) {
  const Tensor weights = weights_at_zero(panel.pattern);
  std::vector<Seen> seen;
  for (const BlockKind kind : panel.kinds)
    seen.push_back(find_seen({.kind = kind, .size = is_grid(kind) || kind == BlockKind::fixed ? kSegment : 0}));
  heading(svg, x, y, nn::combiner_pattern_name(panel.pattern), panel.remark);
  const Grid grid{.x = x, .y = y + 30, .cell = 7, .most = 1.1 * largest(weights)};  // 1 / 16 of it is no border
  const Tensor direct = seen.front().direct;
  svg.matrix(weights, grid,
             [direct](Index i, Index j) { return direct.view<const double, 2>()(i, j) > 0 ? kDirect : kSummary; });
  svg.outline(grid.x - 1, grid.top(kQuery) - 1, kTokens * 7 + 2, 9, "strong");
  if (panel.kinds.size() == 1) draw_sight(svg, panel.kinds.front(), seen.front(), x, y + 212);
}

}  // namespace

std::string combiner_patterns() {
  Svg svg(kWide, 690, "Combiner: which tokens are direct and which spans are summarised, per pattern");
  double x = 24, y = 30;
  for (const Panel& panel : panels()) {
    draw_panel(svg, panel, x, y);
    x += 204;
    if (x > 700) {
      x = 24;
      y += 330;
    }
  }
  const auto say = [&](double at, std::string_view words) { svg.text(636, at, words, kRemark); };
  say(400, "The matrix is that of logits");
  say(416, "of 0: a shade tells how many");
  say(432, "tokens share an entry.");
  say(458, cat("Below it, what query ", kQuery));
  say(474, "sees: on the line, or on a");
  say(490, "grid of 4 rows of 6. A frame");
  say(506, "is a summary, of all tokens");
  say(522, "in it.");
  svg.cell({.x = 636, .y = 540, .cell = 12}, 0, 0, kDirect, 9);
  svg.text(654, 551, "direct token", {.size = 12});
  svg.cell({.x = 636, .y = 560, .cell = 12}, 0, 0, kSummary, 9);
  svg.text(654, 571, "through a summary", {.size = 12});
  return svg.str();
}

}  // namespace subquad::pictures
