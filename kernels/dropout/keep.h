// What drawing a dropout's mask needs to know, gathered once per call. Shared with kernels that fuse a dropout.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "subquad/core/rng.h"

namespace subquad::kernels {

// uniform_float(word) >= probability is (word >> 8) >= ceil(2^24 probability), and that is word > highest_dropped.
inline std::uint32_t highest_dropped(double probability) {
  return static_cast<std::uint32_t>(std::ceil(probability * 0x1p24) * 0x1p8 - 1);
}

// What is kept is multiplied by this.
inline double keep_scale(double probability) {
  return 1 / (1 - probability);
}

namespace cpu {

// Which features of some rows were kept, a bit each: 64 features to a word.
struct KeptBits {
  std::uint8_t* data = nullptr;  // null: nobody wants to know, or nobody does
  Index row_bytes = 0;

  static Index row_bytes_of(Index width) { return (width + 63) / 64 * 8; }
  std::uint8_t* row(Index r) const { return data + r * row_bytes; }
};

struct Keep {
  // `random` must stay alive; probability > 0.
  Keep(double probability, const RandomState& random)
      : key(philox_key(random.seed, random.stream)),
        step(static_cast<std::uint32_t>(*random.step.data<Index>())),
        samples(random.samples.data<Index>()),
        highest_dropped(kernels::highest_dropped(probability)),
        scale(keep_scale(probability)) {
    PhiloxKey k = key;
    for (auto& round : round_keys) {
      round = {k[0], k[1]};
      k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
    }
  }

  PhiloxKey key;
  std::array<std::array<std::uint64_t, 2>, 10> round_keys;  // of each round of Philox, as a 64-bit lane takes them
  std::uint32_t step;
  const Index* samples;
  std::uint32_t highest_dropped;
  double scale;
};

}  // namespace cpu
}  // namespace subquad::kernels
