// Sums and maxima over the threads of a warp or a block, always in the same order, so always with the same bits.
#pragma once

#include <cuda_runtime.h>

namespace subquad::kernels::cuda {

inline constexpr int kWarp = 32;  // threads
inline constexpr unsigned kWholeWarp = 0xffffffffu;

struct Sum {
  template <class T>
  static __device__ T of(T a, T b) {
    return a + b;
  }
};
struct Max {
  template <class T>
  static __device__ T of(T a, T b) {
    return a > b ? a : b;
  }
};

// Every lane gets the result over the warp's 32 lanes, all of which must call.
template <class Op, class T>
__device__ T warp_reduce(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = Op::of(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}
template <class T>
__device__ T warp_sum(T value) {
  return warp_reduce<Sum>(value);
}
template <class T>
__device__ T warp_max(T value) {
  return warp_reduce<Max>(value);
}

// Every thread gets the result over the block, whose size is a multiple of 32 and at most 1024. `scratch` is shared
// memory for 32 values; it may be used again after the call.
template <class Op, class T>
__device__ T block_reduce(T value, T identity, T* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  value = warp_reduce<Op>(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = warp_reduce<Op>(lane < warps ? scratch[lane] : identity);
  __syncthreads();
  return value;
}
template <class T>
__device__ T block_sum(T value, T* scratch) {
  return block_reduce<Sum>(value, T(0), scratch);
}

}  // namespace subquad::kernels::cuda
