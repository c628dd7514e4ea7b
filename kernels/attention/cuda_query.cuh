// What a query brings to each of its pairs in backward.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

namespace subquad::kernels::cuda {

template <class T>
struct QueryNumbers {
  T lse, rest, delta;

  // Probability of a pair that sees each other; 1 at most, whatever forward results the caller hands in.
  __device__ T probability(T logit) const {
    const T log_p = logit - lse - rest;
    return std::exp(log_p > 0 ? T(0) : log_p);
  }
};

}  // namespace subquad::kernels::cuda
