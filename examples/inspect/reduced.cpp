#include "subquad/examples/inspect/reduced.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"

namespace subquad::inspect {

namespace {

// Of all of the rows of `a`.
double one_number(View<const double, 2> a, Index left, Index columns, Reduction reduction) {
  const Index bottom = a.dim(0), right = std::min(a.dim(1), left + columns);
  double sum = 0, largest = a(0, left);
  for (Index i = 0; i < bottom; ++i)
    for (Index j = left; j < right; ++j) {
      sum += a(i, j);
      if (std::abs(a(i, j)) > std::abs(largest)) largest = a(i, j);
    }
  return reduction == Reduction::largest ? largest : sum / static_cast<double>(bottom * (right - left));
}

Index blocks_in(Index extent, Index block) {
  return (extent + block - 1) / block;
}

}  // namespace

Reduced reduced(const Tensor& matrix, const Blocks& blocks, Reduction reduction) {
  check_rank("reduced", "matrix", matrix, 2);
  if (blocks.rows < 1 || blocks.columns < 1)
    throw Error(
        cat("reduced: blocks are ", blocks.rows, " x ", blocks.columns, ", expected at least 1 row and column"));
  const Tensor all = matrix.to(kCpu);
  const Index rows = all.dim(0), columns = all.dim(1);
  Reduced result{.values = {}, .blocks = blocks, .rows = rows, .columns = columns};
  result.values = empty({blocks_in(rows, blocks.rows), blocks_in(columns, blocks.columns)}, kFloat32, kCpu);
  const auto cell = result.values.view<float, 2>();
  for (Index i = 0; i < cell.dim(0); ++i) {  // in float64 a few rows at a time: a copy of a large matrix has no room
    const Tensor strip = all.slice(0, i * blocks.rows, std::min(rows, (i + 1) * blocks.rows)).to(kFloat64).contiguous();
    for (Index j = 0; j < cell.dim(1); ++j)
      cell(i, j) =
          static_cast<float>(one_number(strip.view<const double, 2>(), j * blocks.columns, blocks.columns, reduction));
  }
  const float *begin = result.values.data<float>(), *end = begin + result.values.size();
  if (begin == end) return result;
  const auto [low, high] = std::minmax_element(begin, end);
  result.low = *low;
  result.high = *high;
  return result;
}

Reduced reduced(const Tensor& matrix, Index most, Reduction reduction) {
  check_rank("reduced", "matrix", matrix, 2);
  if (most < 1) throw Error(cat("reduced: most is ", most, ", expected at least 1 row"));
  const Index block = std::max<Index>(1, blocks_in(std::max(matrix.dim(0), matrix.dim(1)), most));
  return reduced(matrix, {.rows = block, .columns = block}, reduction);
}

}  // namespace subquad::inspect
