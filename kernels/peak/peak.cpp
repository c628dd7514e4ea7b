#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/peak/peak.cpp"
#include "subquad/kernels/peak/peak.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kChains = 12;  // latency 4, two per cycle: at least 8 must be under way

// Returns the number of operations done. `values` holds kChains vectors, each different, or the compiler would see that
// the chains are one.
template <class T>
double Chains(T* values, int steps) {
  const hn::ScalableTag<T> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  hn::Vec<decltype(d)> sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = hn::LoadU(d, values + c * lanes);
  const auto factor = hn::Set(d, T(0.5)), term = hn::Set(d, values[0]);
  for (int s = 0; s < steps; ++s)
    for (int c = 0; c < kChains; ++c) sum[c] = hn::MulAdd(sum[c], factor, term);
  for (int c = 0; c < kChains; ++c) hn::StoreU(sum[c], d, values + c * lanes);
  return 2.0 * steps * kChains * lanes;
}
double FloatChains(float* values, int steps) {
  return Chains(values, steps);
}
double DoubleChains(double* values, int steps) {
  return Chains(values, steps);
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

namespace subquad::kernels {

HWY_EXPORT(FloatChains);
HWY_EXPORT(DoubleChains);

double fma_peak(DType dtype) {
  return visit_float("fma_peak", dtype, []<class T>(Type<T>) {
    std::vector<T> values(12 * 16);
    std::iota(values.begin(), values.end(), T(1));
    double best = 0;
    for (int run = 0; run < 20; ++run) {
      const auto start = std::chrono::steady_clock::now();
      double operations = 0;
      if constexpr (std::is_same_v<T, float>)
        operations = SUBQUAD_DISPATCH(FloatChains)(values.data(), 500'000);
      else
        operations = SUBQUAD_DISPATCH(DoubleChains)(values.data(), 500'000);
      best =
          std::max(best, operations / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  });
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
