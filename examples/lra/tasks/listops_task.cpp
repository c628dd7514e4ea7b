#include <filesystem>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/listops_tsv.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

std::vector<ExpectedFile> expected(const std::string& folder) {
  std::vector<ExpectedFile> files;
  for (const char* set : {"train", "val", "test"}) {
    const std::string name = cat("basic_", set, ".tsv");
    files.push_back({name, fs::exists(fs::path(folder) / name)});
  }
  return files;
}

Task load(const TaskSource& source) {
  const auto read = [&](const char* set) {
    return read_listops(fs::path(source.folder) / cat("basic_", set, ".tsv"), {.drop_brackets = source.drop_brackets});
  };
  Task task;
  task.name = source.drop_brackets ? "listops without brackets" : "listops";
  task.shape = {.vocabulary = kListopsVocabulary, .classes = kListopsClasses};
  task.train = read("train");
  task.validation = read("val");
  task.test = read("test");
  for (Index digit = 0; digit < kListopsClasses; ++digit) task.class_names.push_back(cat(digit));
  task.first_token = "root operator";
  for (Token token = 0; token < kListopsVocabulary; ++token) task.token_names.emplace_back(listops_token_text(token));
  return task;
}

// People write (9), 9] or a line for each argument: brackets and parentheses stand for themselves, any white space
// parts.
std::string in_words(std::string_view text) {
  std::string words;
  for (const char c : text) {
    if (c == '[' || c == '(' || c == ')' || c == ']') words += ' ';
    words += c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
    if (c == '(' || c == ')' || c == ']') words += ' ';
  }
  return words;
}

}  // namespace

EncodedInput encode_listops(const TaskSource& source, const RawInput& raw) {
  try {
    std::vector<Token> tokens = parse_listops(in_words(raw.bytes));
    EncodedInput encoded;
    encoded.value = cat(evaluate_listops(tokens));
    if (source.drop_brackets) std::erase(tokens, kListopsClose);
    encoded.tokens.assign(tokens.begin(), tokens.end());
    return encoded;
  } catch (const FormatError& error) {
    throw FormatError(cat(raw.name, ": ", error.what()));
  }
}

TaskKind listops_kind() {
  return {.name = "listops",
          .about = "values of nested lists of digits",
          .nominal = 2000,
          .generated = true,
          .origin = "",
          .expected = expected,
          .load = load};
}

}  // namespace subquad::lra
