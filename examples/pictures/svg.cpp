#include "subquad/examples/pictures/svg.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "subquad/examples/lra/report/html.h"

namespace subquad::pictures {

using lra::escaped;

namespace {

constexpr std::string_view kStyle =
    ".card{fill:#fff;stroke:#d1d9e0}text{fill:#1f2328}.soft{fill:#59636e}.bold{font-weight:bold}\n"
    ".blue{fill:#0b4f9e}.orange{fill:#d9730d}.grey{fill:#59636e}\n"
    "path,rect,line{stroke-width:1}.rule{fill:none;stroke:#8c959f}.strong{fill:none;stroke:#1f2328;stroke-width:2}\n"
    ".dashed{fill:none;stroke:#1f2328;stroke-dasharray:4 3}.dotted{fill:none;stroke:#1f2328;stroke-dasharray:1 3}\n"
    "@media (prefers-color-scheme:dark){\n"
    ".card{fill:#0d1117;stroke:#3d444d}text{fill:#f0f6fc}.soft{fill:#9198a1}\n"
    ".blue{fill:#6cb6ff}.orange{fill:#f0a35c}.grey{fill:#9198a1}.rule{stroke:#656c76}\n"
    ".strong,.dashed,.dotted{stroke:#f0f6fc}}\n";

// Coordinates have one digit after the point at most.
std::string number(double value) {
  const long tenths = std::lround(value * 10);
  std::string out = cat(tenths < 0 ? "-" : "", std::abs(tenths) / 10);
  if (tenths % 10 != 0) out += cat('.', std::abs(tenths) % 10);
  return out;
}

std::string_view name(Ink ink) {
  switch (ink) {
    case Ink::blue: return "blue";
    case Ink::orange: return "orange";
    case Ink::grey: return "grey";
  }
  throw InternalError("svg: an ink without a name");
}

std::string opacity(int level) {
  return level == 10 ? "" : cat(" fill-opacity=\".", level, "\"");
}

// A cell of side 1 whose upper left corner is (x, y).
std::string outline_of(Shape shape, Index x, Index y) {
  switch (shape) {
    case Shape::none: return "";
    case Shape::square: return cat('M', x, ' ', y, "h1v1h-1z");
    case Shape::small_square: return cat('M', x, ".2 ", y, ".2h.6v.6h-.6z");
    case Shape::disc: return cat('M', x, ".1 ", y, ".5a.4.4 0 1 0 .8 0a.4.4 0 1 0-.8 0z");
  }
  throw InternalError("svg: a shape without an outline");
}

double rounded(double value) {
  const double whole = std::round(value);
  if (std::abs(std::abs(value - whole) - 0.5) < 1e-7)
    throw Error(cat("svg: ", value, " stands between two roundings, and may fall to either side; change the input"));
  return whole;
}

}  // namespace

Index steps(double value, double step) {
  return static_cast<Index>(rounded(value / step));
}

std::string digits(double value, int places) {
  long scale = 1;
  for (int i = 0; i < places; ++i) scale *= 10;
  const auto whole = static_cast<long>(rounded(value * static_cast<double>(scale)));
  std::string out = cat(whole < 0 ? "−" : "", std::abs(whole) / scale);
  if (places == 0) return out;
  const std::string behind = cat(std::abs(whole) % scale);
  return out + '.' + std::string(static_cast<std::size_t>(places) - behind.size(), '0') + behind;
}

int shade(double value, double most) {
  if (value == 0) return 0;
  const double root = std::sqrt(std::min(1.0, std::abs(value) / most));
  return std::max(1, static_cast<int>(rounded(10 * root)));
}

double largest(const Tensor& matrix) {
  const Tensor rows = matrix.contiguous();
  double most = 0;
  for (const double value : rows.span<double>()) most = std::max(most, std::abs(value));
  return most;
}

Svg::Svg(int width, int height, std::string_view title) : width_(width), height_(height), title_(title) {}

void Svg::text(double x, double y, std::string_view words, const Words& how) {
  body_ += cat("<text x=\"", number(x), "\" y=\"", number(y), '"');
  if (how.size != 13) body_ += cat(" font-size=\"", how.size, '"');
  if (how.anchor != Anchor::start)
    body_ += cat(" text-anchor=\"", how.anchor == Anchor::middle ? "middle" : "end", '"');
  if (how.bold || how.soft)
    body_ += cat(" class=\"", how.bold ? "bold" : "", how.bold && how.soft ? " " : "", how.soft ? "soft" : "", '"');
  body_ += cat('>', escaped(words), "</text>\n");
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view kind) {
  curve(cat('M', number(x1), ' ', number(y1), 'L', number(x2), ' ', number(y2)), kind);
}

void Svg::arrow(double x1, double y1, double x2, double y2) {
  line(x1, y1, x2, y2, "rule");
  const double along = x2 > x1 ? 1 : x2 < x1 ? -1 : 0, down = y2 > y1 ? 1 : y2 < y1 ? -1 : 0;
  const double back_x = x2 - 6 * along, back_y = y2 - 6 * down;
  body_ += cat("<path class=\"grey\" d=\"M", number(x2), ' ', number(y2), 'L', number(back_x + 3 * down), ' ',
               number(back_y + 3 * along), 'L', number(back_x - 3 * down), ' ', number(back_y - 3 * along), "z\"/>\n");
}

void Svg::outline(double x, double y, double width, double height, std::string_view kind) {
  body_ += cat("<rect class=\"", kind, "\" x=\"", number(x), "\" y=\"", number(y), "\" width=\"", number(width),
               "\" height=\"", number(height), "\"/>\n");
}

void Svg::bar(double x, double y, double width, double height, Ink ink, int level) {
  if (level == 0) return;
  body_ += cat("<rect class=\"", name(ink), '"', opacity(level), " x=\"", number(x), "\" y=\"", number(y),
               "\" width=\"", number(width), "\" height=\"", number(height), "\"/>\n");
}

void Svg::curve(const std::string& path, std::string_view kind) {
  body_ += cat("<path class=\"", kind, "\" d=\"", path, "\"/>\n");
}

void Svg::matrix(const Tensor& matrix, const Grid& grid, const Marker& mark) {
  const Tensor rows = matrix.contiguous();
  const auto values = rows.view<const double, 2>();
  const double most = grid.most > 0 ? grid.most : largest(matrix);
  std::map<std::pair<Ink, int>, std::string> paths;  // one for all cells of an ink and shade
  for (Index i = 0; i < rows.dim(0); ++i)
    for (Index j = 0; j < rows.dim(1); ++j) {
      if (values(i, j) == 0) continue;
      const Mark how = mark ? mark(i, j) : Mark{};
      paths[{how.ink, shade(values(i, j), most)}] += outline_of(how.shape, j, i);
    }
  body_ += cat("<g transform=\"translate(", number(grid.x), ' ', number(grid.y), ")scale(", grid.cell, ")\">\n");
  for (const auto& [how, path] : paths)
    if (!path.empty())
      body_ += cat("<path class=\"", name(how.first), '"', opacity(how.second), " d=\"", path, "\"/>\n");
  body_ += "</g>\n";
  const double width = static_cast<double>(rows.dim(1)) * grid.cell,
               height = static_cast<double>(rows.dim(0)) * grid.cell;
  outline(grid.x, grid.y, width, height);
}

void Svg::cell(const Grid& grid, Index row, Index column, const Mark& mark, int level) {
  if (level == 0) return;
  body_ += cat("<path class=\"", name(mark.ink), '"', opacity(level), " transform=\"translate(", number(grid.x), ' ',
               number(grid.y), ")scale(", grid.cell, ")\" d=\"", outline_of(mark.shape, column, row), "\"/>\n");
}

std::string Svg::str() const {
  return cat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width_, ' ', height_, "\" width=\"", width_,
             "\" height=\"", height_, "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">\n<title>",
             escaped(title_), "</title>\n<style>\n", kStyle,
             "</style>\n<rect class=\"card\" x=\".5\" y=\".5\" width=\"", width_ - 1, "\" height=\"", height_ - 1,
             "\" rx=\"6\"/>\n", body_, "</svg>\n");
}

}  // namespace subquad::pictures
