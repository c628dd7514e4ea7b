// Which positions of a padded batch are real, for kernels: a mask of any kind.
#pragma once

#include <cuda_runtime.h>

#include "subquad/core/mask.h"

namespace subquad::kernels::cuda {

// One sample's positions.
struct SampleReals {
  const bool* real;  // [N], or null: every position before `end` is real
  int end;           // positions from here on are padding

  __device__ bool operator[](int i) const { return i < end && (real == nullptr || real[i]); }
};

struct Reals {
  const bool* real = nullptr;      // [B, N]
  const Index* lengths = nullptr;  // [B], of a prefix mask, which makes `real` unnecessary
  int positions;

  Reals(const Mask& mask, Index all) : positions(static_cast<int>(all)) {
    if (!mask.defined()) return;
    if (mask.prefix)
      lengths = mask.lengths.data<Index>();
    else
      real = mask.real.data<bool>();
  }

  // A length that is wrong is brought into 0 ... N, so that nothing is read that is not there.
  __device__ SampleReals sample(Index b) const {
    if (real != nullptr) return {real + b * positions, positions};
    if (lengths == nullptr) return {nullptr, positions};
    const Index length = lengths[b];
    return {nullptr, length < 0 ? 0 : length < positions ? static_cast<int>(length) : positions};
  }
};

}  // namespace subquad::kernels::cuda
