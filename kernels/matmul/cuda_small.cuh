// Batched products of small float32 matrices without cuBLAS.
#pragma once

#include "subquad/core/shape.h"

namespace subquad::kernels::cuda {

inline constexpr Index kMostSmall = 128;  // rows, columns, and terms of a sum

// Where the elements of one operand lie: element (r, c) of item (i, j) is at data[i outer + j inner + r row + c
// column].
template <class T>
struct SmallMatrices {
  T* data;
  Index row, column, outer, inner;
};

// out = alpha a b + beta out for outer x inner items of [m, k] and [k, n], in precision(). Which other items there are,
// and how they lie, changes no bit of an item. out is not read when beta is 0.
struct SmallProducts {
  Index outer, inner, m, n, k;
  float alpha, beta;
};
void small_matmul(const SmallProducts& products, const SmallMatrices<const float>& a,
                  const SmallMatrices<const float>& b, const SmallMatrices<float>& out);

}  // namespace subquad::kernels::cuda
