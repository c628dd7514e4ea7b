// How near anything could come to an exact softmax matrix with a given budget: the bounds beside which the choices and
// approximations of the mechanisms are judged.
//
// Every function takes A [N, N], float32, contiguous, whose rows are nonnegative and add up to 1.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::compare {

// || B - A || / || A ||, Frobenius norms in double precision; same shapes, float32, contiguous.
double relative_error(const Tensor& b, const Tensor& a);

// The share of A's mass at the places where B is not 0.
double mass_seen(const Tensor& b, const Tensor& a);

// Softmax over the `keys` keys of each query that have the largest weights: those rows of A, rescaled to sum 1. No
// other choice of as many keys holds more mass 1 - e in any row, nor is nearer in the L1 norm, which is 2 e.
Tensor along_best_keys(const Tensor& a, Index keys);

// The `keys` largest weights of each row as they are, 0 elsewhere: no matrix with as many numbers in a row is nearer in
// the Frobenius norm. Its rows do not add up to 1, and nobody's softmax makes it.
Tensor best_sparse(const Tensor& a, Index keys);

// Softmax along the lags and columns: query i sees keys (i + lag) mod N and the columns.
Tensor along_lag_columns(const Tensor& a, const std::vector<Index>& lags, const std::vector<Index>& columns);

// The lags and columns that hold the most mass of A; all queries share them. To find the best is a quadratic problem
// over pairs of sets, since a lag and a column meet in one cell whose mass counts once. Given the columns, though, the
// best lags are simply those with the most of what is left, and the other way round: so the two choices take turns
// until neither gains, from two starts. That is no proof; `most` is: no choice of as many holds more than the best
// lags and the best columns together, had they no cell in common.
struct LagColumnChoice {
  std::vector<Index> lags, columns;  // rising
  double mass = 0;                   // share of A's mass
  double most = 0;                   // an upper bound on the share of any choice
};
LagColumnChoice best_lag_columns(const Tensor& a, Index lags, Index columns);

// The relative Frobenius error of the best matrix of each rank, rank >= 0 (Eckart and Young 1936):
// sqrt(sum_{r > rank} s_r^2 / sum_r s_r^2) for A's singular values s.
std::vector<double> low_rank_errors(const Tensor& a, const std::vector<Index>& ranks);

}  // namespace subquad::compare
