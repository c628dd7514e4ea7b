// Dropout of attention weights inside kernels that never store them.
#pragma once

#include "subquad/kernels/dropout/keep.cuh"

namespace subquad::kernels::cuda {

struct WeightDropout {
  bool active = false;
  KeepKey key = {};

  WeightDropout(double probability, const RandomState& random) : active(probability > 0) {
    if (active) key = keep_key(probability, random);
  }

  // What the weight with the bits of word(sample, position, feature) is multiplied by.
  __device__ double factor(Index sample, Index position, Index feature) const {
    if (!active) return 1;
    const PhiloxCounter words = keep_words(key, sample, position, feature / 4);
    const std::uint32_t low = feature % 2 == 0 ? words[0] : words[1], high = feature % 2 == 0 ? words[2] : words[3];
    return (feature / 2 % 2 == 0 ? low : high) > key.highest_dropped ? key.scale : 0;
  }
};

}  // namespace subquad::kernels::cuda
