// Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number is a pure function of where it is used, so it does not depend on threads, devices, batch split or padding,
// and a resumed run draws the same numbers again.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "subquad/core/tensor.h"

namespace subquad {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

// Ten rounds. Known answers: tests/core/rng_test.cpp.
constexpr PhiloxCounter philox4x32(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    if (round > 0) k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
  }
  return c;
}

// The key of one stream of a seed: each consumer of randomness (a dropout layer, a weight, a data set) has its own.
PhiloxKey philox_key(std::uint64_t seed, std::uint64_t stream);

// A stream number for a name, such as a parameter's or a layer's (64-bit FNV-1a).
constexpr std::uint64_t stream_id(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Top 24 bits of a word as a float in [0, 1).
constexpr float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// What a random layer needs to know of a training step. `step` and `samples` are tensors so that a captured step can be
// replayed with new ones.
//
//   word(b, p, f) = philox4x32({f / 4, p, samples[b], step}, philox_key(seed, stream))[f % 4]
struct RandomState {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  Tensor step;     // int64 [1]
  Tensor samples;  // int64 [B]: a sample's number in its data set, so that the batch it is drawn into does not matter

  RandomState with_stream(std::uint64_t s) const;
  bool defined() const { return step.defined(); }
};

// A sequence of draws for host code (initial weights, data generators): draw n of (seed, stream) is always the same.
class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0);

  std::uint32_t next_u32();
  std::uint64_t next_u64();
  double uniform();                         // [0, 1), 53 bits
  double uniform(double low, double high);  // [low, high)
  Index below(Index count);                 // 0 <= i < count, without bias
  double normal();                          // mean 0, variance 1 (Box-Muller)

 private:
  PhiloxKey key_;
  std::uint64_t block_ = 0;
  PhiloxCounter words_ = {};
  int used_ = 4;
};

// Fill with draws of (seed, stream); element i is a pure function of i. float32 or float64, CPU, contiguous.
void fill_uniform(Tensor& out, double low, double high, std::uint64_t seed, std::uint64_t stream);
void fill_normal(Tensor& out, double mean, double deviation, std::uint64_t seed, std::uint64_t stream);

}  // namespace subquad
