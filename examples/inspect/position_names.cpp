#include "subquad/examples/inspect/position_names.h"

#include <cmath>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/listops.h"

namespace subquad::inspect {

namespace {

bool is_image(const std::string& task) {
  return task == "image" || task == "pathfinder" || task == "path-x";
}

std::string token_text(const std::string& task, std::uint8_t stored) {
  if (task == "listops") return std::string(lra::listops_token_text(stored));
  return byte_text(stored);
}

void name_pixels(const lra::EncodedInput& input, Index first, PositionNames& names) {
  const Index side = std::lround(std::sqrt(static_cast<double>(input.tokens.size())));
  names.image = {.rows = side, .columns = side, .first = first, .grey = input.tokens};
  for (Index i = 0; i < std::ssize(input.tokens); ++i) {
    const Index row = i / side, column = i % side;
    names.tokens.push_back(cat(row, ",", column));
    names.details.push_back(
        cat("row ", row, ", column ", column, ", grey ", int{input.tokens[static_cast<std::size_t>(i)]}));
  }
}

}  // namespace

std::string byte_text(std::uint8_t byte) {
  switch (byte) {
    case ' ': return "␣";
    case '\n': return "⏎";
    case '\t': return "⇥";
    default: break;
  }
  if (byte > 32 && byte < 127) return std::string(1, static_cast<char>(byte));
  constexpr const char* kDigits = "0123456789ABCDEF";
  return {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

PositionNames name_positions(const std::string& task, const lra::EncodedInput& input, const Mask& mask, Index positions,
                             Index front) {
  PositionNames names;
  names.tokens.assign(static_cast<std::size_t>(front), "cls");
  if (is_image(task)) {
    names.details.assign(static_cast<std::size_t>(front), "cls, a token of the model's own");
    name_pixels(input, front, names);
  } else {
    names.bytes = task != "listops";
    for (const std::uint8_t stored : input.tokens) names.tokens.push_back(token_text(task, stored));
  }
  const Index tokens = std::ssize(names.tokens);
  names.padding = positions - tokens;
  names.tokens.resize(static_cast<std::size_t>(positions), "pad");
  if (names.image) names.details.resize(static_cast<std::size_t>(positions), "padding");
  for (Index i = 0; mask.defined() && i < tokens; ++i) {
    if (mask.real.select(0, 0).slice(0, i, i + 1).item<bool>()) continue;
    ++names.hidden;
    if (names.image) names.details[static_cast<std::size_t>(i)] += ", hidden by the mask";
  }
  return names;
}

}  // namespace subquad::inspect
