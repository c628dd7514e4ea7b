// The mask of a dropout on the device, the same bits as keep-inl.h draws on the CPU. Shared with kernels that fuse a
// dropout. One Philox block gives the words of four neighbouring features: a thread that takes four draws once.
#pragma once

#include <cuda_runtime.h>

#include "subquad/kernels/dropout/keep.h"
#include "subquad/kernels/warp/pack.cuh"

namespace subquad::kernels::cuda {

struct KeepKey {  // travels to the kernel by value; step and samples are read there, so that a graph can be replayed
  PhiloxKey key;
  const Index* step;
  const Index* samples;  // [B]
  std::uint32_t highest_dropped;
  double scale;  // of what is kept
};

// probability > 0.
inline KeepKey keep_key(double probability, const RandomState& random) {
  return {philox_key(random.seed, random.stream), random.step.data<Index>(), random.samples.data<Index>(),
          highest_dropped(probability), keep_scale(probability)};
}

// The words of features 4 quad ... 4 quad + 3 of a position (row-major index of the middle dimensions) of batch row
// `sample`. A feature is kept where its word is greater than key.highest_dropped.
__device__ inline PhiloxCounter keep_words(const KeepKey& key, Index sample, Index position, Index quad) {
  return philox4x32({static_cast<std::uint32_t>(quad), static_cast<std::uint32_t>(position),
                     static_cast<std::uint32_t>(key.samples[sample]), static_cast<std::uint32_t>(*key.step)},
                    key.key);
}

// What those four features are multiplied by: the scale, or 0.
template <class T>
__device__ inline Pack<T, 4> keep_factors(const KeepKey& key, Index sample, Index position, Index quad) {
  const PhiloxCounter words = keep_words(key, sample, position, quad);
  const T scale = static_cast<T>(key.scale);
  Pack<T, 4> factors;
  for (int i = 0; i < 4; ++i) factors.at[i] = words[static_cast<std::size_t>(i)] > key.highest_dropped ? scale : T(0);
  return factors;
}

}  // namespace subquad::kernels::cuda
