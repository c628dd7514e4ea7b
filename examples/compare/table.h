// What a comparison found, as text for a terminal.
#pragma once

#include "subquad/examples/compare/comparison.h"

namespace subquad::compare {

// Errors at the largest N with the budget `keys`, softmax mass on the keys seen, then time and memory at the largest N.
std::string table(const Comparison& c);

}  // namespace subquad::compare
