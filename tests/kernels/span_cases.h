// Tables of spans, and masks, for tests of the reductions over them; on the CPU, where slow loops read them.
#pragma once

#include <vector>

#include "subquad/core/mask.h"
#include "subquad/kernels/spans/spans.h"

namespace subquad::test {

inline std::vector<Tensor> span_tables(Index positions) {
  return {kernels::segment_spans(positions, 4, kCpu),
          kernels::segment_spans(positions, 1, kCpu),
          kernels::segment_spans(positions, positions + 3, kCpu),
          kernels::level_spans(positions, kCpu),
          tensor<Index>({0, 5, 3, 9, 9, 9, 1, 100}, {1, 4, 2}),               // uneven, overlapping, empty
          tensor<Index>({1, 2, 2, 2, 4, 7, 3, 4, 9, 20}, {1, 5, 2}),          // with gaps between them
          tensor<Index>({0, 2, 2, 7, 0, 0, 1, 2, 2, 3, 3, 100}, {2, 3, 2})};  // each sample has its own
}

// Undefined, a full and a shorter sample, holes.
inline std::vector<Mask> span_masks(Index positions) {
  Tensor holes = zeros({2, positions}, kBool, kCpu);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < positions; ++i) holes.data<bool>()[b * positions + i] = i % 3 != b && i / 4 != 1;
  return {Mask(), Mask::from_lengths(tensor<Index>({positions, positions / 2}, {2}), positions),
          Mask::from_bool(holes)};
}

inline bool is_real(const Mask& mask, Index b, Index i, Index positions) {
  return !mask.defined() || mask.real.data<bool>()[b * positions + i];
}

}  // namespace subquad::test
