#include "subquad/examples/lra/report/inputs.h"

#include <cmath>

#include "subquad/core/error.h"
#include "subquad/examples/lra/report/html.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::lra {

namespace {

std::string text_html(std::string_view text, const char* unit, Index length) {
  const std::string_view shown = cut_text(text, kShownBytes);
  const std::string size = cat(grouped(length), " ", unit);
  return cat("<pre>", escaped(shown), shown.size() < text.size() ? " …" : "", "</pre>\n<p class=\"size\">",
             shown.size() < text.size() ? cat("the beginning of ", size) : size, "</p>\n");
}

std::string symbols_html(const Task& task, const Sequences& set, Index sample, Index part) {
  std::string text;
  for (const Token token : set.tokens(sample, part)) {
    if (text.size() > 2 * kShownBytes) break;
    text += cat(text.empty() ? "" : " ", task.token_names.at(token));
  }
  return text_html(text, "tokens", set.length(sample, part));
}

// Pixels are shown larger than they are, and never smoothed.
std::string image_html(const Sequences& set, Index sample, Index part) {
  const auto side = static_cast<Index>(std::llround(std::sqrt(static_cast<double>(set.length(sample, part)))));
  if (side * side != set.length(sample, part)) return cat("<p>", set.length(sample, part), " pixels, no square</p>\n");
  const Index scaled = side < 128 ? 128 : side;
  return cat("<img alt=\"test image ", sample, "\" width=\"", scaled, "\" height=\"", scaled,
             "\" src=\"data:image/png;base64,", base64(encode_png(side, side, set.bytes(sample, part))),
             "\"/>\n<p class=\"size\">", side, " × ", side, " pixels</p>\n");
}

std::string part_html(const Task& task, const Sequences& set, Index sample, Index part) {
  switch (input_form(task)) {
    case InputForm::symbols: return symbols_html(task, set, sample, part);
    case InputForm::image: return image_html(set, sample, part);
    case InputForm::text: break;
  }
  const auto bytes = set.bytes(sample, part);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text_html(text, "bytes", std::ssize(bytes));
}

}  // namespace

InputForm input_form(const Task& task) {
  if (!task.token_names.empty()) return InputForm::symbols;
  return task.shape.vocabulary == kTextVocabulary ? InputForm::text : InputForm::image;
}

std::string input_html(const Task& task, const Sequences& set, Index sample) {
  std::string out;
  for (Index part = 0; part < set.parts(); ++part) {
    if (set.parts() > 1) out += cat("<p class=\"part\">", part == 0 ? "first" : "second", "</p>\n");
    out += part_html(task, set, sample, part);
  }
  return out;
}

}  // namespace subquad::lra
