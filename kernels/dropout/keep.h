// Which elements a dropout keeps, row by row. Shared with kernels that fuse a dropout.
#pragma once

#include <algorithm>
#include <cmath>

#include "subquad/core/rng.h"

namespace subquad::kernels::cpu {

class DropoutRows {
 public:
  // `random` must stay alive; probability > 0.
  DropoutRows(double probability, const RandomState& random)
      : key_(philox_key(random.seed, random.stream)),
        step_(static_cast<std::uint32_t>(*random.step.data<Index>())),
        samples_(random.samples.data<Index>()),
        threshold_(static_cast<std::uint32_t>(std::ceil(probability * 0x1p24))),
        scale_(1 / (1 - probability)) {}

  // factors[i] = keep(sample, position, first + i) ? 1 / (1 - probability) : 0 for i in [0, count). `first` is a
  // multiple of 4, the words of one Philox block.
  template <class T>
  void factors(Index sample, Index position, Index first, Index count, T* factors) const {
    const auto row = static_cast<std::uint32_t>(position), id = static_cast<std::uint32_t>(samples_[sample]);
    const T scale = static_cast<T>(scale_);
    for (Index i = 0; i < count; i += 4) {
      const PhiloxCounter words = philox4x32({static_cast<std::uint32_t>((first + i) / 4), row, id, step_}, key_);
      for (Index j = 0; j < std::min<Index>(4, count - i); ++j)
        factors[i + j] = (words[static_cast<std::size_t>(j)] >> 8) >= threshold_ ? scale : T(0);
    }
  }

 private:
  PhiloxKey key_;
  std::uint32_t step_;
  const Index* samples_;
  std::uint32_t threshold_;  // uniform_float(word) >= probability is (word >> 8) >= threshold: both sides times 2^24
  double scale_;
};

}  // namespace subquad::kernels::cpu
