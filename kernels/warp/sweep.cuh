// One pass over flat arrays: every thread of the grid takes packs of N elements, a grid apart, and the first threads
// what is left at the end.
#pragma once

#include <algorithm>
#include <type_traits>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/core/tensor.h"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

inline constexpr int kSweepThreads = 256;  // of a block

// Blocks for a sweep: at most a few waves of a large device, so that what a block prepares is shared by many elements.
// A function of the size alone.
inline unsigned sweep_blocks(Index size, int pack) {
  constexpr Index kMost = 1024;
  const Index per_block = Index{kSweepThreads} * pack;
  return static_cast<unsigned>(std::clamp<Index>((size + per_block - 1) / per_block, 1, kMost));
}

// Calls f(std::integral_constant<int, N>()) with the widest pack in which all these flat tensors can be moved: 16
// bytes, or one element. float64 is there for gradient checks and always moves one at a time; undefined tensors do not
// mind.
template <class T, class F, class... Tensors>
void with_pack(const F& f, const Tensors&... tensors) {
  if constexpr (std::is_same_v<T, float>)
    if (((!tensors.defined() || can_pack<4>(tensors.template data<T>(), 0)) && ...))
      return f(std::integral_constant<int, 4>());
  f(std::integral_constant<int, 1>());
}

// Calls f.template operator()<N>(first) for packs and <1> for single elements: neighbouring threads, neighbouring
// packs.
template <int N, class F>
__device__ void sweep(Index size, const F& f) {
  const Index threads = Index{gridDim.x} * blockDim.x, me = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  const Index packs = size / N;
  for (Index i = me; i < packs; i += threads) f.template operator()<N>(i * N);
  if constexpr (N > 1)
    if (packs * N + me < size) f.template operator()<1>(packs * N + me);
}

}  // namespace subquad::kernels::cuda
