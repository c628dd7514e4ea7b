// The steps of a softmax over one row (kernels/warp/row.cuh), shared with kernels that fuse one.
#pragma once

#include <cmath>
#include <limits>

#include "subquad/kernels/warp/row.cuh"

namespace subquad::kernels::cuda {

// The largest of a row's logits, -inf where there is none.
template <class T, class Row, class Kept>
__device__ T row_maximum(const Row& row, const Kept& logits) {
  return row.template reduce<Max>(-std::numeric_limits<T>::infinity(), [&](auto at) { return logits[at]; });
}

// What is taken from every logit before the exponential: the row's maximum, or 0 where that is -inf, so that -inf minus
// it is no NaN.
template <class T, class Row, class Kept>
__device__ T row_shift(const Row& row, const Kept& logits) {
  const T top = row_maximum<T>(row, logits);
  return top == -std::numeric_limits<T>::infinity() ? T(0) : top;
}

// sum_c exp(logits[c] - shift). A NaN among the logits makes it a NaN.
template <class T, class Row, class Kept>
__device__ T sum_of_exponentials(const Row& row, const Kept& logits, T shift) {
  return row.template reduce<Sum>(
      T(0), [&](auto at) { return map([&](T logit) { return std::exp(logit - shift); }, logits[at]); });
}

}  // namespace subquad::kernels::cuda
