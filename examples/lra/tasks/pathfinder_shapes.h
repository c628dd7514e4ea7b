// What a bar, its halo and a disc cover of the pixels around them. Pixel (x, y) is the unit square around that point.
#pragma once

#include <algorithm>
#include <cmath>

#include "subquad/core/shape.h"

namespace subquad::lra {

struct Point {
  double x = 0;
  double y = 0;
};
inline Point operator+(Point a, Point b) {
  return {a.x + b.x, a.y + b.y};
}
inline Point operator-(Point a, Point b) {
  return {a.x - b.x, a.y - b.y};
}
inline Point operator*(double s, Point a) {
  return {s * a.x, s * a.y};
}
inline double dot(Point a, Point b) {
  return a.x * b.x + a.y * b.y;
}
inline double length(Point a) {
  return std::sqrt(dot(a, a));
}

// Calls f(x, y) for the pixels of a side x side image within `reach` of the segment from a to b, and for some more,
// until it returns false; returns whether it never did.
template <class F>
bool all_pixels_near(Index side, Point a, Point b, double reach, F&& f) {
  const auto first = [&](double p, double q) {
    return std::max<Index>(0, static_cast<Index>(std::floor(std::min(p, q) - reach)));
  };
  const auto last = [&](double p, double q) {
    return std::min<Index>(side - 1, static_cast<Index>(std::ceil(std::max(p, q) + reach)));
  };
  const Index left = first(a.x, b.x), right = last(a.x, b.x), bottom = last(a.y, b.y);
  for (Index y = first(a.y, b.y); y <= bottom; ++y)
    for (Index x = left; x <= right; ++x)
      if (!f(x, y)) return false;
  return true;
}

template <class F>
void for_pixels_near(Index side, Point a, Point b, double reach, F&& f) {
  all_pixels_near(side, a, b, reach, [&](Index x, Index y) {
    f(x, y);
    return true;
  });
}

// Of a bar with flat ends: from `tail`, `length` along the unit vector `forward`, `thickness` across.
struct Bar {
  Point tail;
  Point forward;
  double length = 0;
  double thickness = 0;

  Point head() const { return tail + length * forward; }

  // Share of the pixel around p that it covers, as if the pixel were turned with it: 0..1.
  double coverage(Point p) const {
    const Point at = p - tail;
    const double along = dot(at, forward), across = dot(at, {-forward.y, forward.x});
    return overlap(along, 0, length) * overlap(across, -thickness / 2, thickness / 2);
  }

  // The same of everything within `margin` of it.
  double halo(Point p, double margin) const { return std::clamp(margin + 0.5 - distance(p), 0.0, 1.0); }

  double distance(Point p) const {
    const Point at = p - tail;
    const double along = dot(at, forward), across = std::abs(dot(at, {-forward.y, forward.x}));
    const double beyond = std::max({0.0, -along, along - length}), beside = std::max(0.0, across - thickness / 2);
    return std::sqrt(beyond * beyond + beside * beside);
  }

 private:
  static double overlap(double middle, double low, double high) {
    return std::max(0.0, std::min(high, middle + 0.5) - std::max(low, middle - 0.5));
  }
};

// Share of the pixel around p that a disc covers.
inline double disc_coverage(Point p, Point centre, double radius) {
  return std::clamp(radius + 0.5 - length(p - centre), 0.0, 1.0);
}

}  // namespace subquad::lra
