#include "subquad/examples/inspect/row_facts.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "subquad/core/check.h"

namespace subquad::inspect {

namespace {

// Row by row in float64: a copy of a large matrix has no room.
template <class Visit>
void each_row(const char* op, const Tensor& matrix, const Visit& visit) {
  check_rank(op, "matrix", matrix, 2);
  check_shape(op, "matrix", matrix, {matrix.dim(0), matrix.dim(0)});
  const Tensor here = matrix.to(kCpu);
  for (Index i = 0; i < here.dim(0); ++i) {
    const Tensor row = here.select(0, i).to(kFloat64).contiguous();
    visit(static_cast<std::size_t>(i), row.span<double>());
  }
}

double mass_of(std::span<const double> row) {
  double mass = 0;
  for (const double x : row) mass += std::abs(x);
  return mass;
}

}  // namespace

std::vector<double> row_entropy(const Tensor& matrix) {
  std::vector<double> bits;
  each_row("row_entropy", matrix, [&](std::size_t, std::span<const double> row) {
    const double mass = mass_of(row);
    double& sum = bits.emplace_back();
    for (const double x : row)
      if (x != 0) sum -= std::abs(x) / mass * std::log2(std::abs(x) / mass);
  });
  return bits;
}

std::vector<double> row_sums(const Tensor& matrix) {
  std::vector<double> sums;
  each_row("row_sums", matrix, [&](std::size_t, std::span<const double> row) {
    sums.push_back(std::accumulate(row.begin(), row.end(), 0.0));
  });
  return sums;
}

std::vector<double> mass_by_distance(const Tensor& matrix) {
  std::vector<double> share;
  Index counted = 0;
  each_row("mass_by_distance", matrix, [&](std::size_t i, std::span<const double> row) {
    share.resize(row.size());
    const double mass = mass_of(row);
    if (mass == 0) return;
    ++counted;
    for (std::size_t j = 0; j < row.size(); ++j) share[i > j ? i - j : j - i] += std::abs(row[j]) / mass;
  });
  for (double& s : share) s /= static_cast<double>(std::max<Index>(1, counted));
  return share;
}

}  // namespace subquad::inspect
