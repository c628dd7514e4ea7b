// Time and memory of each attention against the number of positions, as a module trains: its projections included.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "subquad/nn/attention/config.h"

namespace subquad::compare {

struct GrowthPoint {
  Index positions = 0;
  double forward = 0;        // seconds of processor time, all threads together; outside any graph
  double both = 0;           // forward and backward
  double forward_bytes = 0;  // the most that was allocated at once beside parameters and input
  double both_bytes = 0;
};

// c N^p, by least squares of the logarithms over the largest sizes, three at most.
struct PowerLaw {
  double exponent = 0;  // p; NaN of less than two sizes
  double within = 0;    // each value is c N^p times at most 1 + within, and at least 1 / (1 + within); NaN of two sizes
};

struct Exponents {
  PowerLaw forward, both, forward_bytes, both_bytes;
};

struct GrowthCurve {
  std::string kind;
  std::string budget;  // "64 landmarks"
  std::vector<GrowthPoint> points;
  Exponents exponents;
};

struct GrowthOptions {
  std::vector<Index> lengths;  // rising
  Index width = 64;            // D of one sample, in two heads (paramixer: one)
  int repetitions = 3;         // the median of so many, after one that warms up; of one where it takes over a second
  std::uint64_t seed = 1;
};

// Of one kind of nn/attention with its default options, x [1, N, D] of standard normals, gradients of x and of all
// parameters. `told` hears of each size before it is measured.
GrowthCurve measure_growth(const std::string& kind, const GrowthOptions& options,
                           const std::function<void(const std::string&)>& told);

Exponents fitted_exponents(const std::vector<GrowthPoint>& points);

}  // namespace subquad::compare
