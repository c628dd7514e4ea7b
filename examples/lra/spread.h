// Mean and deviation of what several runs have reached.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "subquad/core/shape.h"

namespace subquad::lra {

struct Spread {
  Index count = 0;
  double mean = 0;                       // 0 of nothing
  std::optional<double> deviation = {};  // of the sample, by count - 1; nothing for fewer than two
};

Spread spread(std::span<const double> values);

// "0.3125 ± 0.0102", "0.3125" for a single value, "-" for none.
std::string spread_text(const Spread& spread);

// Text with spaces behind (or in front), up to a width in characters: std::setw counts the bytes of a ±.
std::string padded(const std::string& text, std::size_t width, bool right = false);

}  // namespace subquad::lra
