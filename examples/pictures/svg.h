// A picture as SVG text: what the pictures of the attentions are drawn with.
//
// One style sheet has a light and a dark half, and a card behind the picture goes with it, so that it reads on any
// page. Blue and orange differ in lightness, too, and shapes say what colours say: a picture printed in grey loses
// nothing.
//
// A number that was computed reaches a picture only through shade(), steps() and digits(), which round it: then the
// last bits of a sum, which differ between SIMD targets, do not change a byte of the file. A number that stands on the
// border between two roundings, within 1e-7 of it, is an Error.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "subquad/core/tensor.h"

namespace subquad::pictures {

Index steps(double value, double step);        // value / step, rounded
std::string digits(double value, int places);  // "0.27"; a true minus sign before negative numbers
int shade(double value, double most);          // 1 ... 10, of the square root of |value| / most; 0 only for 0

enum class Ink { blue, orange, grey };
enum class Anchor { start, middle, end };

struct Words {
  Anchor anchor = Anchor::start;
  int size = 13;
  bool bold = false;
  bool soft = false;  // a remark, in grey
};

// How a cell of a matrix is drawn. A square fills it, a small one and a disc leave a rim.
enum class Shape { none, square, small_square, disc };

struct Mark {
  Shape shape = Shape::square;
  Ink ink = Ink::blue;
};

// Where the cell (row, column) of a matrix stands, and what its shades mean.
struct Grid {
  double x = 0, y = 0;  // the upper left corner
  int cell = 8;         // side, in pixels
  double most = 0;      // the value of the darkest shade; 0: the largest there is

  double left(Index column) const { return x + static_cast<double>(column) * cell; }
  double top(Index row) const { return y + static_cast<double>(row) * cell; }
  double middle(Index number) const { return left(number) + cell / 2.0; }  // of a column
};

class Svg {
 public:
  Svg(int width, int height, std::string_view title);

  void text(double x, double y, std::string_view words, const Words& how = {});
  void line(double x1, double y1, double x2, double y2, std::string_view kind = "rule");  // rule, strong or dashed
  void arrow(double x1, double y1, double x2, double y2);                                 // along an axis
  void outline(double x, double y, double width, double height, std::string_view kind = "rule");
  void bar(double x, double y, double width, double height, Ink ink, int level = 10);
  void curve(const std::string& path, std::string_view kind);

  // Every cell of `matrix` [rows, columns], float64, that is not 0; mark tells its shape and ink.
  using Marker = std::function<Mark(Index row, Index column)>;
  void matrix(const Tensor& matrix, const Grid& grid, const Marker& mark = {});
  void cell(const Grid& grid, Index row, Index column, const Mark& mark, int level);

  std::string str() const;

 private:
  int width_, height_;
  std::string title_;
  std::string body_;
};

double largest(const Tensor& matrix);  // of |.|, 0 for none

}  // namespace subquad::pictures
