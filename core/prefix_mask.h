// Prefix masks: what mechanisms that index positions modulo a sample's length (FSAT, Paramixer) ask for.
#pragma once

#include "subquad/core/mask.h"

namespace subquad {

// A mask is undefined, or one that check_mask takes, a prefix mask, and each length is in [0, positions]. Lengths on a
// CUDA device are not looked at, which would wait for it: kernels bring them into that range (warp/lengths.cuh).
void check_prefix_mask(const char* op, const Mask& mask, Index batch, Index positions);

// How many real positions sample b has; all of them without a mask. For masks on the CPU;
// kernels/warp/lengths.cuh is the same for kernels.
inline Index prefix_length(const Mask& mask, Index b, Index positions) {
  return mask.defined() ? mask.lengths.data<Index>()[b] : positions;
}

}  // namespace subquad
