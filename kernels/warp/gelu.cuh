// The normal distribution and what is made of it: gelu(z) = z Phi(z), the erf form, with slope Phi(z) + z phi(z).
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <numbers>

namespace subquad::kernels::cuda {

template <class T>
__device__ inline T normal_cdf(T z) {
  return T(0.5) + T(0.5) * std::erf(z * (std::numbers::sqrt2_v<T> / 2));
}

template <class T>
__device__ inline T normal_density(T z) {
  constexpr T kAtZero = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
  return kAtZero * std::exp(z * z * T(-0.5));
}

template <class T>
struct Gelu {
  T value, slope;
};

template <class T>
__device__ inline Gelu<T> gelu(T z) {
  const T cdf = normal_cdf(z);
  return {z * cdf, cdf + z * normal_density(z)};
}

}  // namespace subquad::kernels::cuda
