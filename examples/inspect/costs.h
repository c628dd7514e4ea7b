// What an attention costs on its input, part by part: nn/attention/attention.h's three steps, as core/profile.h sees
// them.
#pragma once

#include "subquad/examples/inspect/sight.h"

namespace subquad::inspect {

struct OpCost {
  std::string name;  // "attention", "linear"
  Index calls = 0;
  double flops = 0, bytes = 0, seconds = 0;  // without the ops inside
};

struct PartCost {
  std::string name;         // "project", "mix", "output"
  std::vector<OpCost> ops;  // in the order of their first calls
  OpCost sum() const;
};

// Of a forward without dropout and gradients. Flops and bytes are counts of its ops; seconds are of the fastest of
// `runs` after one to warm up.
std::vector<PartCost> costs(const LayerSight& layer, int runs = 5);

}  // namespace subquad::inspect
