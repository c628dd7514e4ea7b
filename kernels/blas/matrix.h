// A matrix as every BLAS takes it.
#pragma once

#include "subquad/core/shape.h"

namespace subquad::kernels {

// A row-major matrix, or the transpose of one: element (i, j) is data[i * ld + j], transposed data[j * ld + i].
template <class T>
struct Matrix {
  T* data = nullptr;
  Index ld = 1;
  bool transposed = false;

  T* at(Index i, Index j) const { return data + (transposed ? j * ld + i : i * ld + j); }
  Matrix from(Index i, Index j) const { return {at(i, j), ld, transposed}; }  // the part below and right of (i, j)
};

}  // namespace subquad::kernels
