#include "subquad/bench/kernel/growth.h"

#include <cmath>

namespace subquad::bench {

namespace {

double exponent(const std::vector<Point>& points, double Point::*value) {
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  const auto count = static_cast<double>(points.size());
  for (const Point& p : points) {
    mean_x += std::log(p.n) / count;
    mean_y += std::log(p.*value) / count;
  }
  for (const Point& p : points) {
    xy += (std::log(p.n) - mean_x) * (std::log(p.*value) - mean_y);
    xx += (std::log(p.n) - mean_x) * (std::log(p.n) - mean_x);
  }
  return xy / xx;
}

}  // namespace

Growth fit(const std::vector<Point>& points) {
  return {exponent(points, &Point::seconds), exponent(points, &Point::flops), exponent(points, &Point::allocated),
          exponent(points, &Point::bytes)};
}

}  // namespace subquad::bench
