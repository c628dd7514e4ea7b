// Curves over training steps as an SVG picture that stands in a page. Colours come from the page's style sheet; lines
// differ in dashes and dots, too, and are named where they end.
#pragma once

#include <string>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

struct Point {
  Index step = 0;
  double value = 0;
};
using Curve = std::vector<Point>;  // by step

struct ChartLine {
  std::string name;
  Curve curve;
  bool dots = false;  // a dot at each point: few and exact ones
};

struct ChartLevel {  // a dashed line across
  std::string name;
  double value = 0;
};

enum class Unit { number, percent, per_second, mebibytes };
enum class Scale { from_zero, fitted, logarithmic };  // of values; fitted where one is not above 0

struct Chart {
  std::string title;
  std::string quantity = {};  // what the points say after their line's name: "training" "accuracy"
  Unit unit = Unit::number;
  Scale scale = Scale::from_zero;
  std::vector<ChartLine> lines;  // two at most are told apart
  std::vector<ChartLevel> levels = {};
};

std::string value_text(double value, Unit unit);

// Rounds 1, 2 or 5 times a power of ten apart, the first at or below `low`, the last at or above `high`.
std::vector<double> tick_values(double low, double high, int about);

// Groups of neighbours as one point each, the last step with the mean value, so that no more than `most` are left.
Curve thinned(const Curve& curve, std::size_t most);

// A figure with the chart's title; "" without a point. Every point that is drawn says its step and value when the mouse
// is over it; a curve of more than kMostPoints is thinned.
inline constexpr std::size_t kMostPoints = 250;
std::string chart_figure(const Chart& chart);

}  // namespace subquad::lra
