// What the page says of one layer, head by head: the matrix that the attention amounts to, beside softmax's of the same
// q and k, what both are like in numbers, and what the mechanism itself decided.
#pragma once

#include "subquad/examples/inspect/pictures.h"
#include "subquad/examples/inspect/position_names.h"
#include "subquad/examples/inspect/sight.h"
#include "subquad/nn/attention/config.h"

namespace subquad::inspect {

struct LayerMatrices {
  Tensor mixing = {};   // [H, N, N] float32 on the CPU
  Tensor softmax = {};  // the same, of the same q and k; undefined in a mechanism that has none
  Tensor alone = {};    // Nystrom's F Z S without the convolution that stands beside it; undefined where there is none
};
LayerMatrices layer_matrices(const LayerSight& layer, const nn::AttentionConfig& config);

// Singular values take N^3 steps: of longer inputs the page has none, and says so.
inline constexpr Index kMostSingular = 4096;

// {"about": ..., "exact": what is to be known where nothing is approximated, else "", "heads": [{"sections": [...]},
// ...]}; its matrices go to `pictures`.
Json layer_record(const LayerSight& layer, const LayerMatrices& matrices, const nn::AttentionConfig& config,
                  const PositionNames& names, Pictures& pictures);

}  // namespace subquad::inspect
