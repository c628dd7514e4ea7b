// The coefficient c of pinv's start, and the way of its gradient back into the matrices.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "subquad/core/parallel.h"
#include "subquad/kernels/pinv/pinv.h"

namespace subquad::kernels {

// The largest sum of |A_ij| over a line (a column or a row), and the first line that has it.
template <class T>
struct LineNorm {
  T value = 0;
  Index line = 0;
};

// Sums over the lines whose elements are `step` apart and which start `next` apart, all of them side by side.
template <class T>
LineNorm<T> line_norm(const T* a, Index size, Index next, Index step) {
  std::vector<T> sums(static_cast<std::size_t>(size));
  for (Index i = 0; i < size; ++i)
    for (Index l = 0; l < size; ++l) sums[static_cast<std::size_t>(l)] += std::abs(a[l * next + i * step]);
  LineNorm<T> top;
  for (Index l = 0; l < size; ++l)
    if (sums[static_cast<std::size_t>(l)] > top.value) top = {sums[static_cast<std::size_t>(l)], l};
  return top;
}

// c of each of `count` matrices.
template <class T>
class PinvCoefficients {
 public:
  PinvCoefficients(const T* a, Index count, Index size, PinvStart start)
      : size_(size), start_(start), columns_(static_cast<std::size_t>(count)), rows_(columns_.size()) {
    parallel_for(count, 2 * size * size, [&](Index i) {
      const T* matrix = a + i * size * size;
      columns_[static_cast<std::size_t>(i)] = line_norm(matrix, size, 1, size);
      if (start == PinvStart::product) rows_[static_cast<std::size_t>(i)] = line_norm(matrix, size, size, 1);
    });
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].value > columns_[top_column_].value) top_column_ = i;
      if (rows_[i].value > rows_[top_row_].value) top_row_ = i;
    }
  }

  T operator[](Index i) const {
    const T column = columns_[start_ == PinvStart::exact ? static_cast<std::size_t>(i) : top_column_].value;
    const T norm = start_ == PinvStart::product ? column * rows_[top_row_].value : column;
    return norm == 0 ? 0 : 1 / norm;
  }

  // da += what dc, the gradient of every matrix's c, makes of the entries in the largest columns and rows:
  // d(1 / (column row)) = -c^2 (row dcolumn + column drow).
  void add_gradient(const std::vector<T>& dc, const T* a, T* da) const {
    if (start_ == PinvStart::exact) {
      for (std::size_t i = 0; i < dc.size(); ++i) {
        const T c = (*this)[static_cast<Index>(i)];
        add_to_line(i, columns_[i].line, size_, -c * c * dc[i], a, da);
      }
      return;
    }
    if (dc.empty()) return;
    T sum = 0;
    for (const T part : dc) sum += part;
    const T c = (*this)[0], amount = -c * c * sum;
    const LineNorm<T>&column = columns_[top_column_], &row = rows_[top_row_];
    const bool with_row = start_ == PinvStart::product;
    add_to_line(top_column_, column.line, size_, with_row ? amount * row.value : amount, a, da);
    if (with_row) add_to_line(top_row_, row.line * size_, 1, amount * column.value, a, da);
  }

 private:
  // To the line of a matrix that starts at element `first`: the gradient of its sum of absolute values.
  void add_to_line(std::size_t matrix, Index first, Index step, T amount, const T* a, T* da) const {
    first += static_cast<Index>(matrix) * size_ * size_;
    for (Index i = 0; i < size_; ++i) {
      const T value = a[first + i * step];
      da[first + i * step] += value > 0 ? amount : value < 0 ? -amount : T(0);
    }
  }

  Index size_;
  PinvStart start_;
  std::vector<LineNorm<T>> columns_, rows_;
  std::size_t top_column_ = 0, top_row_ = 0;
};

}  // namespace subquad::kernels
