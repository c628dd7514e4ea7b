// How many real positions each sample of a prefix mask has, for kernels: core/prefix_mask.h on the device.
#pragma once

#include <cuda_runtime.h>

#include "subquad/core/mask.h"

namespace subquad::kernels::cuda {

struct Lengths {
  const Index* of;  // [B] on the device, or null: all positions of every sample
  Index positions;

  Lengths(const Mask& mask, Index all) : of(mask.defined() ? mask.lengths.data<Index>() : nullptr), positions(all) {}

  // Within 0 ... positions whatever stands in memory, so that a wrong length reads nothing that is not there.
  __device__ Index operator[](Index b) const {
    if (of == nullptr) return positions;
    const Index length = of[b];
    return length < 0 ? 0 : length < positions ? length : positions;
  }
};

}  // namespace subquad::kernels::cuda
