// The one table of sizes: what the benchmark programs time, and what the figures are asked to be.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "subquad/bench/kernel/settings.h"

namespace subquad::bench {

// Least fractions of the roof, and times as fast as the fastest peer; 0: nothing is asked.
struct Target {
  std::string name;  // rows of one name are judged together: "skinny product"
  double forward_roof = 0, backward_roof = 0;
  double peer = 0;
  bool products = true;  // the roof is the FMA peak; false: the floor of products and bytes
};

struct Row {
  std::string family;  // primitives, attentions, layers or training
  std::string op;
  std::vector<std::pair<std::string, std::string>> settings;  // that differ from the op's defaults
  Target target;
  Index length = 0;  // n where it counts positions

  std::string title() const;       // "combiner pattern=logsparse n=4096"
  void apply(Settings& to) const;  // sets `settings`
};

// Float32, batch 4, 2 heads of 32 features (Paramixer: one of 64), n = 1024, 4096, 16384 where there is an n.
// Training steps also as ListOps has them: batch 32, n = 2048.
std::vector<Row> rows();
std::vector<std::string> families();

}  // namespace subquad::bench
