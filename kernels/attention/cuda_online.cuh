// The online softmax of attention's tensor-core kernels, in the registers in which fragments of logits lie.
#pragma once

#include <limits>
#include <numbers>

#include "subquad/kernels/attention/cuda_tile.cuh"

namespace subquad::kernels::cuda {

inline constexpr float kLog2E = std::numbers::log2e_v<float>;

// The softmax of a lane's rows so far: upper and lower row of each fragment.
template <int kTiles, int W>
struct Online {
  float top[kTiles][2];  // the largest logit
  float sum[kTiles][2];  // this lane's share of the sum of e^(logit - top)

  __device__ Online() {
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[m][half] = std::numeric_limits<float>::lowest();
        sum[m][half] = 0;
      }
  }

  // Logits to weights relative to the new maximum; what was summed before follows it down. Only differences of logits
  // are multiplied by log2(e), whose rounding times a large logit would be an error of many units.
  __device__ void weigh(Logits<kTiles>& logits, Sums<kTiles, W>& out) {
    float new_top[kTiles][2];
    bool rises = false;
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float t = top[m][half];
#pragma unroll
        for (const auto& x : logits[m]) t = fmaxf(t, fmaxf(x[2 * half], x[2 * half + 1]));
        t = fmaxf(t, __shfl_xor_sync(kWholeWarp, t, 1));
        new_top[m][half] = fmaxf(t, __shfl_xor_sync(kWholeWarp, t, 2));
        rises = rises || new_top[m][half] > top[m][half];
      }
    if (__any_sync(kWholeWarp, rises))  // elsewhere everything would be multiplied by 1
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float shrink = fast_exp2((top[m][half] - new_top[m][half]) * kLog2E);
          top[m][half] = new_top[m][half];
          sum[m][half] *= shrink;
#pragma unroll
          for (auto& x : out[m]) {
            x[2 * half] *= shrink;
            x[2 * half + 1] *= shrink;
          }
        }
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (auto& x : logits[m])
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          x[e] = fast_exp2((x[e] - top[m][e / 2]) * kLog2E);
          sum[m][e / 2] += x[e];
        }
  }

  __device__ float total(int m, int half) const {
    const float pair = sum[m][half] + __shfl_xor_sync(kWholeWarp, sum[m][half], 1);
    return pair + __shfl_xor_sync(kWholeWarp, pair, 2);
  }
};

}  // namespace subquad::kernels::cuda
