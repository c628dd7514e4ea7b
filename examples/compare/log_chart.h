// Curves over two logarithmic axes, several panels to a picture, as an SVG file that stands alone: light or dark as the
// reader's system is, told apart by marks and dashes as well as by colour, each curve named at its right end.
#pragma once

#include <string>
#include <vector>

namespace subquad::compare {

// Okabe and Ito's palette, darkened for text on white; grey for what no mechanism reaches.
enum class Colour { ink, blue, orange, green, purple, brown, grey };
enum class Marker { none, disc, ring, square, open_square, triangle, open_triangle, diamond, open_diamond, cross };

struct Spot {
  double x = 0, y = 0;    // above 0; others are left out
  std::string note = {};  // shown when the mouse is over it
};

struct Series {
  std::string name;
  std::vector<Spot> spots;
  Colour colour = Colour::ink;
  Marker marker = Marker::disc;
  std::string dash = {};  // as in stroke-dasharray; empty: solid
  bool line = true;       // between the spots
};

struct Level {  // a thin line across, or up where it has an x
  std::string name;
  double value = 0;
  bool upright = false;
};

enum class Measure {
  plain,
  count,
  flops,
  seconds,
  bytes
};  // how tick labels are written: 0.1, 1,024, 20k, 5 ms, 2 MiB

struct Axis {
  std::string name;
  Measure measure = Measure::plain;
  std::vector<double> ticks = {};  // empty: round numbers
  double floor = 0;                // of y: smaller values are drawn there
};

struct Panel {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  std::vector<Level> levels = {};
};

// The panels from left to right, `across` of them in a row; `caption` has one line of the picture per element. Panels
// of one picture have the same range of y where `same_y`.
struct Picture {
  std::string title;
  std::vector<std::string> caption;
  std::vector<Panel> panels;
  int across = 2;
  bool same_y = true;
};

std::string svg(const Picture& picture);

std::string tick_text(double value, Measure measure);

}  // namespace subquad::compare
