// gelu(z) = z Phi(z), the erf form, and its slope Phi(z) + z phi(z).
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <numbers>

namespace subquad::kernels::cuda {

template <class T>
struct Gelu {
  T value, slope;
};

template <class T>
__device__ Gelu<T> gelu(T z) {
  constexpr T kDensity = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
  const T cdf = T(0.5) + T(0.5) * std::erf(z * (std::numbers::sqrt2_v<T> / 2));
  return {z * cdf, cdf + z * kDensity * std::exp(z * z * T(-0.5))};
}

}  // namespace subquad::kernels::cuda
