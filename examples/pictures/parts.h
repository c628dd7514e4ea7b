// What the pictures of several attentions have in common.
#pragma once

#include <vector>

#include "subquad/examples/pictures/sequence.h"
#include "subquad/examples/pictures/svg.h"

namespace subquad::pictures {

inline constexpr int kWide = 840;  // what a page shows without shrinking it
inline constexpr Words kRemark = {.size = 12, .soft = true};

void heading(Svg& svg, double x, double y, std::string_view title, std::string_view remark);
void tokens_along(Svg& svg, const Grid& grid, Index count, std::string_view what = "key");  // numbers above a matrix
void legend(Svg& svg, double x, double y, double most);                                     // ten shades, 0 to `most`
void sign_legend(Svg& svg, double x, double y);

inline constexpr Mark kDirect{.shape = Shape::square, .ink = Ink::blue};  // of Combiner: a token that is seen itself,
inline constexpr Mark kSummary{.shape = Shape::small_square, .ink = Ink::orange};  // and one that is seen in a summary
void direct_legend(Svg& svg, double x, double y);

// Bars for numbers that may be negative, from a line at 0.
struct Chart {
  double x = 0, y = 0, step = 9, height = 80;
};
void bars(Svg& svg, const std::vector<double>& values, const Chart& chart,
          const std::function<Mark(Index)>& mark = {});  // small_square: a bar of outline alone

Svg::Marker signs(const Tensor& matrix);  // squares for positive numbers, small orange ones for negative

std::vector<double> row_of(const Tensor& matrix, Index row);
double mass(const Tensor& matrix, const Tensor& where);  // mean over rows of the sum where `where` is not 0
Tensor unit(Index size);                                 // the identity, float64
Tensor difference(const Tensor& a, const Tensor& b);

}  // namespace subquad::pictures
