#include "subquad/examples/lra/spread.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

namespace subquad::lra {

Spread spread(std::span<const double> values) {
  Spread found = {.count = std::ssize(values)};
  if (values.empty()) return found;
  const auto count = static_cast<double>(values.size());
  found.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  if (values.size() < 2) return found;
  double squares = 0;
  for (const double value : values) squares += (value - found.mean) * (value - found.mean);
  found.deviation = std::sqrt(squares / (count - 1));
  return found;
}

std::string spread_text(const Spread& spread) {
  if (spread.count == 0) return "-";
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << spread.mean;
  if (spread.deviation) text << " ± " << *spread.deviation;
  return text.str();
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const auto characters = static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  const std::string blanks(width > characters ? width - characters : 0, ' ');
  return right ? blanks + text : text + blanks;
}

}  // namespace subquad::lra
