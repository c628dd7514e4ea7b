#include "subquad/examples/inspect/row_facts.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "subquad/core/check.h"

namespace subquad::inspect {

namespace {

Tensor rows_of(const char* op, const Tensor& matrix) {  // float64 on the CPU
  check_rank(op, "matrix", matrix, 2);
  check_shape(op, "matrix", matrix, {matrix.dim(0), matrix.dim(0)});
  return matrix.to(kCpu).to(kFloat64).contiguous();
}

double mass_of(View<const double, 2> a, Index i) {
  double mass = 0;
  for (Index j = 0; j < a.dim(1); ++j) mass += std::abs(a(i, j));
  return mass;
}

}  // namespace

std::vector<double> row_entropy(const Tensor& matrix) {
  const Tensor rows = rows_of("row_entropy", matrix);
  const auto a = rows.view<const double, 2>();
  std::vector<double> bits(static_cast<std::size_t>(a.dim(0)));
  for (Index i = 0; i < a.dim(0); ++i) {
    const double mass = mass_of(a, i);
    for (Index j = 0; j < a.dim(1); ++j)
      if (a(i, j) != 0)
        bits[static_cast<std::size_t>(i)] -= std::abs(a(i, j)) / mass * std::log2(std::abs(a(i, j)) / mass);
  }
  return bits;
}

std::vector<double> row_sums(const Tensor& matrix) {
  const Tensor rows = rows_of("row_sums", matrix);
  const auto a = rows.view<const double, 2>();
  std::vector<double> sums(static_cast<std::size_t>(a.dim(0)));
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < a.dim(1); ++j) sums[static_cast<std::size_t>(i)] += a(i, j);
  return sums;
}

std::vector<double> mass_by_distance(const Tensor& matrix) {
  const Tensor rows = rows_of("mass_by_distance", matrix);
  const auto a = rows.view<const double, 2>();
  std::vector<double> share(static_cast<std::size_t>(a.dim(0)));
  Index counted = 0;
  for (Index i = 0; i < a.dim(0); ++i) {
    const double mass = mass_of(a, i);
    if (mass == 0) continue;
    ++counted;
    for (Index j = 0; j < a.dim(1); ++j) share[static_cast<std::size_t>(std::abs(i - j))] += std::abs(a(i, j)) / mass;
  }
  for (double& s : share) s /= static_cast<double>(std::max<Index>(1, counted));
  return share;
}

}  // namespace subquad::inspect
