// What the positions of an input are called on the page.
#pragma once

#include <optional>

#include "subquad/core/mask.h"
#include "subquad/examples/inspect/parts.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::inspect {

// A picture whose pixels are tokens, row by row.
struct ImageInput {
  Index rows = 0, columns = 0;
  Index first = 0;  // position of the first pixel
  std::vector<std::uint8_t> grey;
};

struct PositionNames {
  std::vector<std::string> tokens;   // short, of each position: an operator, a byte, row and column; "pad" and "cls"
  std::vector<std::string> details;  // longer ones, where there is more to say; or empty
  std::optional<ImageInput> image;
  bool bytes = false;  // tokens are bytes of a text
  Index padding = 0;   // positions that hold no token
  Index hidden = 0;    // tokens that the mask hides from the attention
};

// Of an attention over `positions`, whose mask [1, positions] may be undefined: then all are seen. `front` tokens of
// the model's own stand before the input's.
PositionNames name_positions(const std::string& task, const lra::EncodedInput& input, const Mask& mask, Index positions,
                             Index front);

std::string byte_text(std::uint8_t byte);  // "a", "␣" for a space, "⏎", "\xE2"

}  // namespace subquad::inspect
