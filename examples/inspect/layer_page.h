// What the page says of one layer, head by head: the matrix that the attention amounts to, beside softmax's of the same
// q and k, what both are like in numbers, and what the mechanism itself decided.
#pragma once

#include "subquad/examples/inspect/head_facts.h"
#include "subquad/examples/inspect/pictures.h"
#include "subquad/examples/inspect/position_names.h"

namespace subquad::inspect {

// {"about": ..., "exact": what is to be known where nothing is approximated, else "", "heads": [{"sections": [...]},
// ...]}; its matrices go to `pictures`.
Json layer_record(const LayerSight& layer, const LayerMatrices& matrices, const nn::AttentionConfig& config,
                  const PositionNames& names, Pictures& pictures);

}  // namespace subquad::inspect
