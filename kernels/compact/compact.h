// Real positions of each sample moved to the front, and back: how mechanisms that need prefix lengths (FSAT, Paramixer)
// take any mask.
//
//   compact   out[b, .., a, ..] = x[b, .., p_b(a), ..]    for a < n_b, 0 behind
//   spread    out[b, .., p_b(a), ..] = x[b, .., a, ..]    for a < n_b, 0 at padded positions
//
//   x [B, .., N, ..], positions along `dim` (1 <= dim < rank; negative counts from the end); p_b(a) is the position of
//   sample b's real token number a, n_b how many there are
//
// Each is the gradient of the other. Every dtype, any strides; the result is new and contiguous. A prefix mask and an
// undefined one (Mask::prefix, a host flag) have nothing to move: x comes back itself, whatever stands at its padded
// positions. Deterministic; one read and one write of x. On CUDA two launches, and [B, N] indices beside the result.
#pragma once

#include "subquad/core/mask.h"

namespace subquad::kernels {

Tensor compact(const Tensor& x, const Mask& mask, int dim);
Tensor spread(const Tensor& x, const Mask& mask, int dim);

// The prefix mask of what compact returns: the same lengths. A prefix mask and an undefined one come back themselves.
Mask compact(const Mask& mask);

}  // namespace subquad::kernels
