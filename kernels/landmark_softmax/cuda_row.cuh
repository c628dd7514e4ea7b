// The softmax of a row of logits between landmarks, and its gradient, by one warp whose lanes go along the columns.
#pragma once

#include <cmath>
#include <limits>

#include "subquad/kernels/landmark_softmax/landmark_softmax.h"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

// Which landmarks count; null: all, no sample.
struct Counted {
  const bool* counts;
  const bool* none;
  bool uniform;  // rows that are left out

  Counted(const Tensor& which, const Tensor& samples, const LandmarkSoftmaxOptions& options)
      : counts(which.defined() ? which.data<bool>() : nullptr),
        none(samples.defined() ? samples.data<bool>() : nullptr),
        uniform(options.left_out == LeftOutRows::uniform) {}

  __device__ bool operator()(Index b, Index size, Index i) const {
    return (none == nullptr || !none[b]) && (counts == nullptr || counts[b * size + i]);
  }
};

// Row i of sample b.
template <class T>
__device__ void weigh_row(const T* from, T scale, const Counted& counted, Index b, Index i, Index size, T* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (!counted(b, size, i)) {
    const T even = 1 / static_cast<T>(size);
    for (Index j = lane; j < size; j += kWarp) to[j] = counted.uniform ? even : j == i ? T(1) : T(0);
    return;
  }
  T top = -std::numeric_limits<T>::infinity(), sum = 0;
  for (Index j = lane; j < size; j += kWarp)
    if (counted(b, size, j)) top = Max::of(top, scale * from[j]);
  top = warp_max(top);
  if (top == -std::numeric_limits<T>::infinity()) top = 0;  // no logit is more than that
  for (Index j = lane; j < size; j += kWarp)
    if (counted(b, size, j)) sum += std::exp(scale * from[j] - top);
  sum = warp_sum(sum);
  const T factor = sum == 0 ? T(0) : 1 / sum;
  for (Index j = lane; j < size; j += kWarp)
    to[j] = counted(b, size, j) ? std::exp(scale * from[j] - top) * factor : T(0);
}

template <class T>
__device__ void differentiate_row(const T* up, const T* p, T scale, const Counted& counted, Index b, Index i,
                                  Index size, T* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool counts = counted(b, size, i);
  T dot = 0;
  for (Index j = lane; j < size; j += kWarp)
    if (counts && counted(b, size, j)) dot += up[j] * p[j];
  dot = warp_sum(dot);
  for (Index j = lane; j < size; j += kWarp)
    to[j] = counts && counted(b, size, j) ? scale * (p[j] * (up[j] - dot)) : T(0);
}

}  // namespace subquad::kernels::cuda
