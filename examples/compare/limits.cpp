#include "subquad/examples/compare/limits.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/examples/inspect/singular_values.h"
#include "subquad/kernels/top_k/top_k.h"

namespace subquad::compare {

namespace {

using Matrix = View<const float, 2>;

double square_sum(Matrix a, const auto& cell) {
  double sum = 0;
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < a.dim(1); ++j) {
      const double x = cell(i, j);
      sum += x * x;
    }
  return sum;
}

// Rows rescaled to sum 1; a row of zeros stays.
Tensor rescaled(Tensor a) {
  const auto row = a.view<float, 2>();
  for (Index i = 0; i < row.dim(0); ++i) {
    double sum = 0;
    for (Index j = 0; j < row.dim(1); ++j) sum += row(i, j);
    for (Index j = 0; j < row.dim(1); ++j)
      if (sum > 0) row(i, j) = static_cast<float>(row(i, j) / sum);
  }
  return a;
}

// Where the `count` largest of the gains are, rising; of equal ones the first.
std::vector<Index> largest(const std::vector<double>& gains, Index count) {
  std::vector<Index> order(gains.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
    return gains[static_cast<std::size_t>(a)] > gains[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(std::min(count, static_cast<Index>(order.size()))));
  std::sort(order.begin(), order.end());
  return order;
}

double sum_at(const std::vector<double>& gains, const std::vector<Index>& places) {
  double sum = 0;
  for (const Index place : places) sum += gains[static_cast<std::size_t>(place)];
  return sum;
}

// Mass of each lag and each column, and the search over both.
class LagColumnSearch {
 public:
  LagColumnSearch(const Tensor& a, Index lags, Index columns)
      : a_(a.view<const float, 2>()), lags_(lags), columns_(columns), lag_mass_(extent()), column_mass_(extent()) {
    for (Index i = 0; i < positions(); ++i)
      for (Index j = 0; j < positions(); ++j) {
        lag_mass_[static_cast<std::size_t>((j - i + positions()) % positions())] += a_(i, j);
        column_mass_[static_cast<std::size_t>(j)] += a_(i, j);
      }
  }

  LagColumnChoice from_lags() const { return climb({.lags = largest(lag_mass_, lags_), .columns = {}}, true); }
  LagColumnChoice from_columns() const {
    return climb({.lags = {}, .columns = largest(column_mass_, columns_)}, false);
  }

  double most() const {
    const double sum =
        sum_at(lag_mass_, largest(lag_mass_, lags_)) + sum_at(column_mass_, largest(column_mass_, columns_));
    return std::min(1.0, sum / static_cast<double>(positions()));
  }

 private:
  Index positions() const { return a_.dim(0); }
  std::size_t extent() const { return static_cast<std::size_t>(a_.dim(0)); }
  double meeting(Index lag, Index column) const { return a_((column - lag + positions()) % positions(), column); }

  std::vector<Index> best_columns(const std::vector<Index>& lags) const {
    std::vector<double> gains = column_mass_;
    for (Index column = 0; column < positions(); ++column)
      for (const Index lag : lags) gains[static_cast<std::size_t>(column)] -= meeting(lag, column);
    return largest(gains, columns_);
  }
  std::vector<Index> best_lags(const std::vector<Index>& columns) const {
    std::vector<double> gains = lag_mass_;
    for (Index lag = 0; lag < positions(); ++lag)
      for (const Index column : columns) gains[static_cast<std::size_t>(lag)] -= meeting(lag, column);
    return largest(gains, lags_);
  }
  double mass(const LagColumnChoice& choice) const {
    double sum = sum_at(lag_mass_, choice.lags) + sum_at(column_mass_, choice.columns);
    for (const Index lag : choice.lags)
      for (const Index column : choice.columns) sum -= meeting(lag, column);
    return sum / static_cast<double>(positions());
  }

  // Each turn is the best answer to the other set, so the mass never falls; it ends where it does not rise.
  LagColumnChoice climb(LagColumnChoice choice, bool columns_next) const {
    for (double before = -1; choice.mass > before; columns_next = !columns_next) {
      before = choice.mass;
      LagColumnChoice next = choice;
      if (columns_next)
        next.columns = best_columns(choice.lags);
      else
        next.lags = best_lags(choice.columns);
      next.mass = mass(next);
      if (next.mass > before) choice = next;
    }
    return choice;
  }

  Matrix a_;
  Index lags_, columns_;
  std::vector<double> lag_mass_, column_mass_;
};

}  // namespace

double relative_error(const Tensor& b, const Tensor& a) {
  const auto approximate = b.view<const float, 2>(), exact = a.view<const float, 2>();
  const double wrong = square_sum(exact, [&](Index i, Index j) -> double {
    return static_cast<double>(approximate(i, j)) - static_cast<double>(exact(i, j));
  });
  return std::sqrt(wrong / square_sum(exact, [&](Index i, Index j) -> double { return exact(i, j); }));
}

double mass_seen(const Tensor& b, const Tensor& a) {
  const auto approximate = b.view<const float, 2>(), exact = a.view<const float, 2>();
  double sum = 0;
  for (Index i = 0; i < exact.dim(0); ++i)
    for (Index j = 0; j < exact.dim(1); ++j)
      if (approximate(i, j) != 0) sum += exact(i, j);
  return sum / static_cast<double>(exact.dim(0));
}

Tensor along_best_keys(const Tensor& a, Index keys) {
  return rescaled(best_sparse(a, keys));
}

Tensor best_sparse(const Tensor& a, Index keys) {
  const Index positions = a.dim(0), count = std::min(keys, positions);
  const kernels::TopK best = kernels::top_k(a, count);
  const auto value = best.values.view<const float, 2>();
  const auto index = best.indices.view<const std::int64_t, 2>();
  Tensor out = zeros(a.shape(), kFloat32, kCpu);
  const auto kept = out.view<float, 2>();
  for (Index i = 0; i < positions; ++i)
    for (Index s = 0; s < count; ++s) kept(i, index(i, s)) = value(i, s);
  return out;
}

Tensor along_lag_columns(const Tensor& a, const std::vector<Index>& lags, const std::vector<Index>& columns) {
  const Index positions = a.dim(0);
  const auto from = a.view<const float, 2>();
  Tensor out = zeros(a.shape(), kFloat32, kCpu);
  const auto kept = out.view<float, 2>();
  const auto keep = [&](Index i, Index j) { kept(i, j) = from(i, j); };
  for (Index i = 0; i < positions; ++i) {
    for (const Index lag : lags) keep(i, (i + lag) % positions);
    for (const Index column : columns) keep(i, column);
  }
  return rescaled(std::move(out));
}

LagColumnChoice best_lag_columns(const Tensor& a, Index lags, Index columns) {
  const LagColumnSearch search(a, lags, columns);
  LagColumnChoice first = search.from_lags(), second = search.from_columns();
  LagColumnChoice best = second.mass > first.mass ? std::move(second) : std::move(first);
  best.most = search.most();
  return best;
}

std::vector<double> low_rank_errors(const Tensor& a, const std::vector<Index>& ranks) {
  const Tensor values = inspect::singular_values(a);  // [N], falling
  const auto s = values.span<double>();
  std::vector<double> rest(s.size() + 1, 0.0);  // rest[r]: the squares of all but the r largest
  for (std::size_t r = s.size(); r-- > 0;) rest[r] = rest[r + 1] + s[r] * s[r];
  std::vector<double> errors;
  for (const Index rank : ranks)
    errors.push_back(std::sqrt(rest[std::min(static_cast<std::size_t>(rank), s.size())] / rest[0]));
  return errors;
}

}  // namespace subquad::compare
