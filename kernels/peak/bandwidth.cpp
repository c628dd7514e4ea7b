#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subquad/kernels/peak/bandwidth.cpp"
#include "subquad/kernels/peak/bandwidth.h"
#include "subquad/kernels/simd/targets.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace subquad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::size_t kUnrolled = 8;  // vectors under way at a time

// `count` is a multiple of kUnrolled vectors of any target: of 128 floats.
float ReadAll(const float* values, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> sum[kUnrolled];
  for (auto& s : sum) s = hn::Zero(d);
  for (std::size_t i = 0; i < count; i += kUnrolled * lanes)
    for (std::size_t u = 0; u < kUnrolled; ++u) sum[u] = hn::Add(sum[u], hn::Load(d, values + i + u * lanes));
  for (std::size_t u = 1; u < kUnrolled; ++u) sum[0] = hn::Add(sum[0], sum[u]);
  return hn::GetLane(sum[0]);
}

void CopyAll(const float* from, float* to, std::size_t count, bool stream) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < count; i += kUnrolled * lanes)
    for (std::size_t u = 0; u < kUnrolled; ++u) {
      const auto v = hn::Load(d, from + i + u * lanes);
      if (stream)
        hn::Stream(v, d, to + i + u * lanes);
      else
        hn::Store(v, d, to + i + u * lanes);
    }
  hwy::FlushStream();
}

}  // namespace subquad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <chrono>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

HWY_EXPORT(ReadAll);
HWY_EXPORT(CopyAll);

namespace {

// Bytes per second of a pass over `bytes`: the best of ten times as many passes as 64 MB take.
template <class Pass>
double best_rate(std::size_t bytes, Pass&& pass) {
  const std::size_t passes = std::max<std::size_t>(1, (std::size_t{64} << 20) / bytes);
  double best = 0;
  for (int run = 0; run < 10; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t p = 0; p < passes; ++p) pass();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(passes * bytes) / seconds);
  }
  return best;
}

}  // namespace

double bandwidth(std::size_t bytes) {
  constexpr std::size_t kStep = 128;  // floats
  const std::size_t half = std::max(kStep, bytes / (2 * sizeof(float)) / kStep * kStep);
  Tensor memory = full({static_cast<Index>(2 * half)}, 1, kFloat32, kCpu);
  float* const values = memory.data<float>();
  volatile float sum = 0;
  const std::size_t all = 2 * half * sizeof(float);
  double best = best_rate(all, [&] { sum = SUBQUAD_DISPATCH(ReadAll)(values, 2 * half); });
  for (const bool stream : {false, true})
    best = std::max(best, best_rate(all, [&] { SUBQUAD_DISPATCH(CopyAll)(values, values + half, half, stream); }));
  return best;
}

}  // namespace subquad::kernels

#endif  // HWY_ONCE
