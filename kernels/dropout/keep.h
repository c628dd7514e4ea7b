// What drawing a dropout's mask needs to know, gathered once per call. Shared with kernels that fuse a dropout.
#pragma once

#include <cmath>

#include "subquad/core/rng.h"

namespace subquad::kernels::cpu {

struct Keep {
  // `random` must stay alive; probability > 0.
  Keep(double probability, const RandomState& random)
      : key(philox_key(random.seed, random.stream)),
        step(static_cast<std::uint32_t>(*random.step.data<Index>())),
        samples(random.samples.data<Index>()),
        threshold(static_cast<std::uint32_t>(std::ceil(probability * 0x1p24))),
        scale(1 / (1 - probability)) {}

  PhiloxKey key;
  std::uint32_t step;
  const Index* samples;
  std::uint32_t threshold;  // uniform_float(word) >= probability is (word >> 8) >= threshold: both sides times 2^24
  double scale;             // of what is kept
};

}  // namespace subquad::kernels::cpu
