// Noise of the Gumbel distribution on the keys that FSAT chooses by.
//
//   out[b, h, n] = -gamma ln(-ln u)      u = (top 24 bits of word(b, n, h) + 1/2) / 2^24      word as in core/rng.h
//   gamma = scale max(0, 1 - step / fade_steps); with fade_steps = 0 it stays at scale
//
//   out [B, H, N], float32 or float64, on the device of `random`
//
// So a number depends on seed, stream, step, sample number, position and head alone: neither on the batch that a sample
// is drawn into, nor on the padding behind it, nor on threads; on CUDA, or with another SIMD target, it may differ in
// its last bit. With scale 1 numbers lie in (-2.9, 17.4). On CUDA step and samples are read by the kernel, so that a
// graph can be replayed. Source: our reconstruction of FSAT, nn/attention/fsat.h, which chooses by scores with such
// noise on them.
#pragma once

#include "subquad/core/rng.h"

namespace subquad::kernels {

struct GumbelOptions {
  double scale = 1;
  Index fade_steps = 0;
};

Tensor gumbel_noise(const Shape& shape, DType dtype, const RandomState& random, const GumbelOptions& options = {});

}  // namespace subquad::kernels
