// A sample's input in a page, as people know it: an expression, a text, a picture; of pairs, both.
#pragma once

#include <string>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

enum class InputForm {
  symbols,  // of a task that names its tokens
  text,     // bytes, of one with the vocabulary of texts
  image,    // a square of grey pixels, row by row
};
InputForm input_form(const Task& task);

inline constexpr std::size_t kShownBytes = 600;  // of a text or an expression; what is cut off is said

std::string input_html(const Task& task, const Sequences& set, Index sample);

}  // namespace subquad::lra
