#include "subquad/examples/lra/run_table.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

namespace {

// A run that was killed may leave half a line at the end.
std::vector<Record> read_records(const std::filesystem::path& path) {
  std::vector<Record> records;
  std::ifstream file(path);
  std::string line;
  for (Index number = 1; std::getline(file, line); ++number) {
    const Record record = Record::parse(line, nullptr, false);
    if (!record.is_object()) {
      if (file.peek() == std::ifstream::traits_type::eof()) break;
      throw FormatError(cat(path.string(), ": line ", number, " is no JSON object"));
    }
    records.push_back(record);
  }
  return records;
}

void take(const Record& record, RunSummary& run) {
  const std::string kind = record.value("kind", "");
  if (kind == "start") {
    run.attention = record.value("attention", "");
    run.model = record.value("model", "encoder");
    run.task = record.value("task", "");
    run.data_hash = record.value("data_hash", "");
    run.parameters = record.value("parameters", Index{0});
  } else if (kind == "validation") {
    run.validation = std::max(run.validation.value_or(0), record.value("accuracy", 0.0));
  } else if (kind == "test" && record.value("checkpoint", "").starts_with("best")) {
    run.test = record.value("accuracy", 0.0);
  } else if (kind == "baseline") {
    run.baselines.push_back({record.value("name", ""), record.value("validation", 0.0), record.value("test", 0.0)});
  }
}

void take_times(const std::vector<Record>& records, RunSummary& run) {
  double session = 0;
  for (const Record& record : records) {
    if (record.value("kind", "") == "session") {
      run.minutes += session / 60;
      session = 0;
    } else {
      session = record.value("seconds", session);
      run.tokens_per_second = record.value("tokens_per_second", run.tokens_per_second);
      run.peak_bytes = std::max(run.peak_bytes, record.value("process_bytes", std::uint64_t{0}));
    }
  }
  run.minutes += session / 60;
}

std::string accuracy_text(const std::optional<double>& accuracy) {
  if (!accuracy) return "-";
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << *accuracy;
  return text.str();
}

void refuse_other_data(const std::vector<RunSummary>& runs) {
  for (const RunSummary& run : runs)
    if (run.data_hash != runs.front().data_hash)
      throw Error(cat("the runs of ", runs.front().attention, " and ", run.attention, " saw different data: hash ",
                      runs.front().data_hash, " and ", run.data_hash));
}

}  // namespace

RunSummary read_run(const std::filesystem::path& folder) {
  const RunFolder run = RunFolder::open(folder);
  RunSummary summary;
  for (const Record& record : read_records(run.metrics())) take(record, summary);
  if (summary.attention.empty()) throw Error(cat(run.metrics().string(), ": there is no record of a start"));
  take_times(read_records(run.timing()), summary);
  return summary;
}

void print_run_table(const std::vector<RunSummary>& runs, std::ostream& out) {
  if (runs.empty()) return;
  refuse_other_data(runs);
  const auto row = [&](const std::array<std::string, 8>& cells) {
    constexpr std::array<int, 8> kWidths = {20, 9, 10, 12, 8, 10, 10, 9};
    std::ostringstream line;
    for (std::size_t i = 0; i < cells.size(); ++i)
      line << (i < 2 ? std::left : std::right) << std::setw(kWidths[i]) << cells[i];
    const std::string text = line.str();
    out << "  " << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
  };
  row({"attention", "model", "parameters", "validation", "test", "tokens/s", "peak MiB", "minutes"});
  for (const RunSummary& run : runs) {
    std::ostringstream minutes;
    minutes << std::fixed << std::setprecision(1) << run.minutes;
    row({run.attention, run.model, cat(run.parameters), accuracy_text(run.validation), accuracy_text(run.test),
         rate_text(run.tokens_per_second), cat(run.peak_bytes >> 20), minutes.str()});
  }
  const auto complete =
      std::find_if(runs.begin(), runs.end(), [](const RunSummary& r) { return !r.baselines.empty(); });
  if (complete == runs.end()) return;
  for (const Baseline& baseline : complete->baselines)
    row({baseline.name, "", "", accuracy_text(baseline.validation), accuracy_text(baseline.test), "", "", ""});
}

}  // namespace subquad::lra
