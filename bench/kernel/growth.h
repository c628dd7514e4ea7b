// How time and memory grow with n, beside the growth of what the mechanism itself has to do.
#pragma once

#include <algorithm>
#include <vector>

namespace subquad::bench {

struct Point {
  double n = 0;
  double seconds = 0;    // processor time of forward and backward
  double flops = 0;      // counted
  double allocated = 0;  // bytes at the peak
  double bytes = 0;      // counted
};

// Exponents p of a fit c n^p by least squares of the logarithms.
struct Growth {
  double seconds = 0, flops = 0, allocated = 0, bytes = 0;

  static constexpr double kSlack = 0.05;
  bool time_met() const { return seconds <= std::max(flops, bytes) + kSlack; }
  bool memory_met() const { return allocated <= bytes + kSlack; }
};
Growth fit(const std::vector<Point>& points);  // at least two, of different n

}  // namespace subquad::bench
