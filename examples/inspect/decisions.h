// What a mechanism itself decided for an input, head by head: the part of the page that is different for each.
#pragma once

#include "subquad/examples/inspect/pictures.h"
#include "subquad/examples/inspect/position_names.h"
#include "subquad/examples/inspect/sight.h"
#include "subquad/nn/attention/config.h"

namespace subquad::inspect {

// One sentence: what the attention is and how it is set.
std::string mechanism_text(const nn::AttentionConfig& config);

struct DecisionInput {
  const LayerSight& layer;
  const nn::AttentionConfig& config;
  const PositionNames& names;
  Pictures& pictures;
};

// A section for each head. Each kind has a file of its own; of softmax and local attention there is little to say.
std::vector<Json> decisions(const DecisionInput& in);

std::vector<Json> nystrom_decisions(const DecisionInput& in);
std::vector<Json> fsat_decisions(const DecisionInput& in);
std::vector<Json> paramixer_decisions(const DecisionInput& in);
std::vector<Json> combiner_decisions(const DecisionInput& in);

// "3–7 ‘[MAX 2 9 ]’": positions and their tokens.
std::string span_text(const PositionNames& names, Index first, Index last);
std::string position_text(const PositionNames& names, Index position);

}  // namespace subquad::inspect
