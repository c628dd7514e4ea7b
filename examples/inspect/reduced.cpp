#include "subquad/examples/inspect/reduced.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/check.h"

namespace subquad::inspect {

namespace {

double one_number(View<const double, 2> a, Index top, Index left, Index block, Reduction reduction) {
  const Index bottom = std::min(a.dim(0), top + block), right = std::min(a.dim(1), left + block);
  double sum = 0, largest = a(top, left);
  for (Index i = top; i < bottom; ++i)
    for (Index j = left; j < right; ++j) {
      sum += a(i, j);
      if (std::abs(a(i, j)) > std::abs(largest)) largest = a(i, j);
    }
  return reduction == Reduction::largest ? largest : sum / static_cast<double>((bottom - top) * (right - left));
}

}  // namespace

Reduced reduced(const Tensor& matrix, Index most, Reduction reduction) {
  check_rank("reduced", "matrix", matrix, 2);
  if (most < 1) throw Error(cat("reduced: most is ", most, ", expected at least 1 row"));
  const Tensor all = matrix.to(kCpu).to(kFloat64).contiguous();
  const auto a = all.view<const double, 2>();
  Reduced result{.values = {}, .rows = a.dim(0), .columns = a.dim(1)};
  const auto blocks = [&](Index extent) { return (extent + result.block - 1) / result.block; };
  result.block = std::max<Index>(1, (std::max(a.dim(0), a.dim(1)) + most - 1) / most);
  result.values = empty({blocks(a.dim(0)), blocks(a.dim(1))}, kFloat32, kCpu);
  const auto cell = result.values.view<float, 2>();
  for (Index i = 0; i < cell.dim(0); ++i)
    for (Index j = 0; j < cell.dim(1); ++j)
      cell(i, j) = static_cast<float>(one_number(a, i * result.block, j * result.block, result.block, reduction));
  const float *begin = result.values.data<float>(), *end = begin + result.values.size();
  if (begin == end) return result;
  const auto [low, high] = std::minmax_element(begin, end);
  result.low = *low;
  result.high = *high;
  return result;
}

}  // namespace subquad::inspect
