// Softmax attention by groups of eight lanes (kernels/warp/row_group.cuh), for queries that see few keys, or other keys
// than their neighbours: the own row is read once per look, the others four at a time.
#pragma once

#include <cmath>
#include <limits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/warp/row_group.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kGroupWarps = 4, kGroupThreads = kGroupWarps * kWarp;  // of a block

// Who walks over a row's list: the four groups of a warp, or those of all warps of the block.
struct Walkers {
  bool whole_block;

  __device__ int count() const { return (whole_block ? kGroupWarps : 1) * kWarpGroups; }
  __device__ int number() const {
    return static_cast<int>(threadIdx.x) % (whole_block ? kGroupThreads : kWarp) / kGroupLanes;
  }
  // The group that writes the result.
  __device__ bool writes() const { return number() == 0; }
};

// Shared memory for what warps of a block tell each other.
template <class T>
struct GroupScratch {
  T* sums;  // [warps][64]
  T* tops;  // [warps][2]

  __device__ explicit GroupScratch(SharedMemory& shared)
      : sums(shared.take<T>(kGroupWarps * kGroupColumns)), tops(shared.take<T>(2 * kGroupWarps)) {}
  static constexpr std::size_t bytes() {
    return shared_size<T>(kGroupWarps * kGroupColumns) + shared_size<T>(2 * kGroupWarps);
  }
};

// The softmax of a group's query so far. Each lane sums for its own row of every four.
template <class T>
struct GroupOnline {
  T top = std::numeric_limits<T>::lowest();
  T sum = 0;

  // Logit of the lane's row to its weight relative to the new maximum; what was summed before is to be multiplied by
  // `shrink`. -inf: not seen.
  __device__ T weigh(T logit, T& shrink) {
    const T new_top = Max::of(top, across_rows<Max>(logit));
    shrink = std::exp(top - new_top);
    top = new_top;
    const T p = std::exp(logit - new_top);
    sum = sum * shrink + p;
    return p;
  }

  // Over all walkers. Afterwards top and sum are theirs together; returns what this group's sums are multiplied by.
  __device__ T join(const Walkers& walkers, const GroupScratch<T>& scratch) {
    const T own = top;
    top = across_groups<Max>(top);
    sum = across_groups<Sum>(across_rows<Sum>(sum * std::exp(own - top)));
    if (walkers.whole_block) {
      const int warp = static_cast<int>(threadIdx.x) / kWarp;
      if (threadIdx.x % kWarp == 0) {
        scratch.tops[2 * warp] = top;
        scratch.tops[2 * warp + 1] = sum;
      }
      __syncthreads();
      for (int w = 0; w < kGroupWarps; ++w) top = Max::of(top, scratch.tops[2 * w]);
      sum = 0;
      for (int w = 0; w < kGroupWarps; ++w) sum += scratch.tops[2 * w + 1] * std::exp(scratch.tops[2 * w] - top);
      __syncthreads();
    }
    return std::exp(own - top);
  }
};

// The sums of all walkers, in order; the group that writes gets them.
template <int N, class T>
__device__ void add_walkers(GroupSums<N, T>& sums, const Walkers& walkers, const GroupScratch<T>& scratch) {
  sums.add_groups();
  if (!walkers.whole_block) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x % kWarp < kGroupLanes) sums.put(scratch.sums + warp * kGroupColumns);
  __syncthreads();
  if (warp == 0)
    for (int w = 1; w < kGroupWarps; ++w) sums.take(scratch.sums + w * kGroupColumns, T(1));
  __syncthreads();
}

// 0 for rows without a single key.
template <class T>
__device__ T share_of(T sum) {
  return sum == 0 ? T(0) : 1 / sum;
}

}  // namespace subquad::kernels::cuda
