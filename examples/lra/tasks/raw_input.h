// An input as people give it to a trained model, and what its task makes of it: the very tokens that the task's reader
// makes of the same bytes.
#pragma once

#include <optional>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

struct RawInput {
  std::string name;  // stands before the complaints: a file's path, the argument itself
  std::string bytes;
};

// One sequence.
struct EncodedInput {
  Token first_id = 0;                // as in Sequences
  std::vector<std::uint8_t> tokens;  // as Sequences stores them
  std::vector<std::string> notes;    // what was done to it
  std::optional<std::string> value;  // the class that is right, where the input says so itself
};

struct InputKind {
  std::string about;                                                      // "an expression such as ..."
  bool only_files = false;                                                // bytes that nobody types
  EncodedInput (*encode)(const TaskSource& source, const RawInput& raw);  // FormatError for what the reader refuses
};

const InputKind& input_kind(const std::string& task);  // Error for a name that no task has

// Each stands beside its reader.
EncodedInput encode_listops(const TaskSource& source, const RawInput& raw);
EncodedInput encode_retrieval(const TaskSource& source, const RawInput& raw);
EncodedInput encode_image(const TaskSource& source, const RawInput& raw);
EncodedInput encode_pathfinder(const TaskSource& source, const RawInput& raw);
EncodedInput encode_path_x(const TaskSource& source, const RawInput& raw);
// Cut as the source says. A line end behind a text does not belong to it, as none does in the tsv files.
EncodedInput encode_text(const TaskSource& source, const RawInput& raw);

}  // namespace subquad::lra
