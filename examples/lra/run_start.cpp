#include "subquad/examples/lra/run_start.h"

#include <optional>

#include "subquad/examples/lra/record_log.h"

namespace subquad::lra {

namespace {

Index positive(const Record& record, const char* name) {
  const Index value = field(record, name, Index{0});
  if (value < 1)
    throw FormatError(cat("the start of the run has no ", name, "; an earlier version of train_lra did not write it"));
  return value;
}

RunStart start_of(const Record& record) {
  RunStart start;
  start.shape.vocabulary = positive(record, "vocabulary");
  start.shape.parts = positive(record, "parts");
  if (start.shape.parts > 2) throw FormatError(cat("parts is ", start.shape.parts, ", expected 1 or 2"));
  const auto names = record.find("class_names");
  if (names == record.end() || !names->is_array() || names->empty())
    throw FormatError("the start of the run has no class_names");
  for (const Record& name : *names) {
    if (!name.is_string()) throw FormatError(cat("class_names has ", name.dump(), ", expected a text"));
    start.class_names.push_back(name.get<std::string>());
  }
  start.shape.classes = std::ssize(start.class_names);
  return start;
}

}  // namespace

RunStart read_run_start(const RunFolder& run) {
  std::optional<RunStart> start;
  read_records(run.metrics(), [&](const Record& record) {
    if (text_field(record, "kind") == "start") start = start_of(record);
  });
  if (!start) throw FormatError(cat(run.metrics().string(), ": there is no record of a start"));
  return *start;
}

}  // namespace subquad::lra
