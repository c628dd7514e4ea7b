#include "subquad/examples/pictures/parts.h"

#include <algorithm>
#include <cmath>

namespace subquad::pictures {

void heading(Svg& svg, double x, double y, std::string_view title, std::string_view remark) {
  svg.text(x, y, title, {.size = 15, .bold = true});
  if (!remark.empty()) svg.text(x, y + 18, remark, kRemark);
}

void tokens_along(Svg& svg, const Grid& grid, Index count, std::string_view what) {
  const Words small{.anchor = Anchor::middle, .size = 10, .soft = true};
  for (Index j = 0; j < count; j += 6) {
    svg.text(grid.middle(j), grid.y - 4, cat(j), small);
    svg.text(grid.x - 4, grid.top(j) + grid.cell / 2.0 + 4, cat(j), {.anchor = Anchor::end, .size = 10, .soft = true});
  }
  svg.text(grid.left(count), grid.y - 4, cat(what, " →"), {.anchor = Anchor::end, .size = 10, .soft = true});
  svg.text(grid.x, grid.top(count) + 13, "↓ query", {.size = 10, .soft = true});
}

void legend(Svg& svg, double x, double y, double most) {
  svg.text(x, y + 11, "0", {.size = 11});
  for (int level = 1; level <= 10; ++level) svg.bar(x + 2 + level * 12, y, 12, 13, Ink::blue, level);
  svg.outline(x + 14, y, 120, 13);
  svg.text(x + 140, y + 11, digits(most, 2), {.size = 11});
  svg.text(x + 14, y + 27, "shade: root of the weight", {.size = 11, .soft = true});
}

void sign_legend(Svg& svg, double x, double y) {
  svg.cell({.x = x, .y = y, .cell = 12}, 0, 0, {.ink = Ink::blue}, 9);
  svg.text(x + 18, y + 11, "positive", {.size = 12});
  svg.cell({.x = x + 80, .y = y, .cell = 12}, 0, 0, {.shape = Shape::small_square, .ink = Ink::orange}, 9);
  svg.text(x + 98, y + 11, "negative", {.size = 12});
}

void direct_legend(Svg& svg, double x, double y) {
  svg.cell({.x = x, .y = y, .cell = 12}, 0, 0, kDirect, 9);
  svg.text(x + 18, y + 11, "direct token", {.size = 12});
  svg.cell({.x = x + 108, .y = y, .cell = 12}, 0, 0, kSummary, 9);
  svg.text(x + 126, y + 11, "through a summary", {.size = 12});
}

void bars(Svg& svg, const std::vector<double>& values, const Chart& chart, const std::function<Mark(Index)>& mark) {
  const double high = std::max(0.0, *std::max_element(values.begin(), values.end()));
  const double low = std::min(0.0, *std::min_element(values.begin(), values.end()));
  const double pixel = (high - low) / chart.height;
  const double zero = chart.y + static_cast<double>(steps(high, pixel));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double length = static_cast<double>(steps(std::abs(values[i]), pixel));
    const double x = chart.x + static_cast<double>(i) * chart.step + 1, y = values[i] > 0 ? zero - length : zero;
    const Mark how = mark ? mark(static_cast<Index>(i)) : Mark{};
    if (length > 0 && how.shape == Shape::small_square)
      svg.outline(x + 0.5, y, chart.step - 3, length);
    else if (length > 0)
      svg.bar(x, y, chart.step - 2, length, how.ink, 9);
  }
  svg.line(chart.x, zero, chart.x + static_cast<double>(values.size()) * chart.step, zero);
}

Svg::Marker signs(const Tensor& matrix) {
  const Tensor rows = matrix.contiguous();
  return [rows](Index i, Index j) {
    const bool negative = rows.view<const double, 2>()(i, j) < 0;
    return negative ? Mark{.shape = Shape::small_square, .ink = Ink::orange} : Mark{};
  };
}

std::vector<double> row_of(const Tensor& matrix, Index row) {
  const Tensor values = matrix.select(0, row).contiguous();
  return {values.span<double>().begin(), values.span<double>().end()};
}

double mass(const Tensor& matrix, const Tensor& where) {
  double sum = 0;
  for (Index i = 0; i < matrix.dim(0); ++i) {
    const std::vector<double> weights = row_of(matrix, i), chosen = row_of(where, i);
    for (std::size_t j = 0; j < weights.size(); ++j) sum += chosen[j] != 0 ? weights[j] : 0;
  }
  return sum / static_cast<double>(matrix.dim(0));
}

Tensor unit(Index size) {
  Tensor out = zeros({size, size}, kFloat64, kCpu);
  for (Index i = 0; i < size; ++i) out.data<double>()[i * size + i] = 1;
  return out;
}

Tensor difference(const Tensor& a, const Tensor& b) {
  Tensor out = a.clone();
  for (Index i = 0; i < a.dim(0); ++i) {
    const std::vector<double> other = row_of(b, i);
    for (Index j = 0; j < a.dim(1); ++j) out.data<double>()[i * a.dim(1) + j] -= other[static_cast<std::size_t>(j)];
  }
  return out;
}

}  // namespace subquad::pictures
