#include "subquad/examples/inspect/reduced.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"

namespace subquad::inspect {

namespace {

double one_number(View<const double, 2> a, Index top, Index left, const Blocks& blocks, Reduction reduction) {
  const Index bottom = std::min(a.dim(0), top + blocks.rows), right = std::min(a.dim(1), left + blocks.columns);
  double sum = 0, largest = a(top, left);
  for (Index i = top; i < bottom; ++i)
    for (Index j = left; j < right; ++j) {
      sum += a(i, j);
      if (std::abs(a(i, j)) > std::abs(largest)) largest = a(i, j);
    }
  return reduction == Reduction::largest ? largest : sum / static_cast<double>((bottom - top) * (right - left));
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
  const Tensor all = matrix.to(kCpu).to(kFloat64).contiguous();
  const auto a = all.view<const double, 2>();
  Reduced result{.values = {}, .blocks = blocks, .rows = a.dim(0), .columns = a.dim(1)};
  result.values = empty({blocks_in(a.dim(0), blocks.rows), blocks_in(a.dim(1), blocks.columns)}, kFloat32, kCpu);
  const auto cell = result.values.view<float, 2>();
  for (Index i = 0; i < cell.dim(0); ++i)
    for (Index j = 0; j < cell.dim(1); ++j)
      cell(i, j) = static_cast<float>(one_number(a, i * blocks.rows, j * blocks.columns, blocks, reduction));
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
