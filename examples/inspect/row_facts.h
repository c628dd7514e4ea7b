// What rows of a mixing matrix do, in numbers. Rows are read as shares of their absolute values, so that matrices with
// negative elements (nystrom, paramixer) have an answer, too; of a softmax they are the probabilities themselves:
//
//   p[i, j] = |a[i, j]| / sum_l |a[i, l]|
//
//   row_entropy        [N]   -sum_j p[i, j] log2 p[i, j], bits: 2^entropy keys would get so much; 0 for a zero row
//   row_sums           [N]   sum_j a[i, j]: 1 for a softmax
//   mass_by_distance   [N]   mean over rows of the p[i, j] with |i - j| = d, d = 0 ... N - 1: adds up to 1
//
// matrix [N, N], float32 or float64, any device and strides; sums are float64. Rows of zeros (padded queries) are no
// part of a mean over rows; where there are no others the mass is 0 everywhere.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::inspect {

std::vector<double> row_entropy(const Tensor& matrix);
std::vector<double> row_sums(const Tensor& matrix);
std::vector<double> mass_by_distance(const Tensor& matrix);

}  // namespace subquad::inspect
