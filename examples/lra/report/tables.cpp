#include "subquad/examples/lra/report/tables.h"

#include <algorithm>

#include "subquad/core/file.h"
#include "subquad/examples/lra/record_log.h"

namespace subquad::lra {

namespace {

std::string cell(const Record& record, const std::string& column) {
  const auto field = record.find(column);
  if (field == record.end() || field->is_null()) return "";
  const std::string text = field->is_string() ? field->get<std::string>() : field->dump();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

void write_table(const std::filesystem::path& records, const std::filesystem::path& table,
                 const std::vector<std::string>& kinds, const std::vector<std::string>& columns) {
  std::string text;
  const auto add_row = [&](const auto& cell_of) {
    for (const std::string& column : columns) text.append(cell_of(column)).append(1, ',');
    text.replace(text.size() - 1, 1, "\r\n");
  };
  add_row([](const std::string& column) { return column; });
  read_records(records, [&](const Record& record) {
    if (std::find(kinds.begin(), kinds.end(), record.value("kind", "")) == kinds.end()) return;
    add_row([&](const std::string& column) { return cell(record, column); });
  });
  AtomicFile file(table);
  file.write(text);
  file.commit();
}

}  // namespace

const std::vector<std::string>& metrics_columns() {
  static const std::vector<std::string> columns = {
      "kind", "step", "epoch", "loss", "accuracy", "rate", "gradient_norm", "checkpoint", "name", "validation", "test"};
  return columns;
}

const std::vector<std::string>& timing_columns() {
  static const std::vector<std::string> columns = {
      "kind",    "step", "seconds", "tokens_per_second", "waiting_share", "peak_bytes", "process_bytes", "device",
      "threads", "simd", "set"};
  return columns;
}

void write_tables(const RunFolder& folder) {
  write_table(folder.metrics(), folder.path() / "metrics.csv",
              {"train", "validation", "early_stop", "baseline", "test"}, metrics_columns());
  write_table(folder.timing(), folder.path() / "timing.csv", {"session", "speed", "evaluation"}, timing_columns());
}

}  // namespace subquad::lra
