#include "subquad/examples/lra/run_table.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <set>
#include <sstream>
#include <utility>

#include "subquad/core/error.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

namespace {

void take(const Record& record, RunSummary& run) {
  const std::string kind = text_field(record, "kind");
  if (kind == "start") {
    run.attention = text_field(record, "attention");
    run.model = text_field(record, "model", "encoder");
    run.task = text_field(record, "task");
    run.data_hash = text_field(record, "data_hash");
    run.parameters = field(record, "parameters", Index{0});
  } else if (kind == "validation") {
    run.validation = std::max(run.validation.value_or(0), field(record, "accuracy", 0.0));
  } else if (kind == "test" && text_field(record, "checkpoint").starts_with("best")) {
    run.test = field(record, "accuracy", 0.0);
  } else if (kind == "baseline") {
    run.baselines.push_back({text_field(record, "name"), field(record, "validation", 0.0), field(record, "test", 0.0)});
  }
}

void read_times(const std::filesystem::path& path, RunSummary& run) {
  double earlier = 0, session = 0;  // seconds
  read_records(path, [&](const Record& record) {
    const std::string kind = text_field(record, "kind");
    if (kind == "session") {
      earlier += std::exchange(session, 0);
    } else if (kind == "speed") {
      session = field(record, "seconds", session);
      run.minutes = (earlier + session) / 60;
      if (record.contains("tokens_per_second")) run.tokens_per_second = field(record, "tokens_per_second", 0.0);
      if (record.contains("process_bytes"))
        run.peak_bytes = std::max(run.peak_bytes.value_or(0), field(record, "process_bytes", std::uint64_t{0}));
    }
  });
}

std::string fixed_text(const std::optional<double>& number, int digits) {
  if (!number) return "-";
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << *number;
  return text.str();
}

std::string accuracy_text(const std::optional<double>& accuracy) {
  return fixed_text(accuracy, 4);
}

void refuse_other_data(const std::vector<RunSummary>& runs) {
  const RunSummary& first = runs.front();
  for (const RunSummary& run : runs)
    if (run.data_hash != first.data_hash)
      throw Error(cat(first.folder, " (", first.attention, ") and ", run.folder, " (", run.attention,
                      ") saw different data: hash ", first.data_hash, " and ", run.data_hash));
}

// Width of a column that tells runs of one attention apart; 0 where each run has its own.
int folder_width(const std::vector<RunSummary>& runs) {
  std::set<std::string> attentions;
  std::size_t longest = std::string_view("folder").size();
  for (const RunSummary& run : runs) {
    attentions.insert(run.attention);
    longest = std::max(longest, run.folder.size());
  }
  return attentions.size() == runs.size() ? 0 : static_cast<int>(longest) + 2;
}

}  // namespace

RunSummary read_run(const std::filesystem::path& folder) {
  const RunFolder run = RunFolder::open(folder);
  RunSummary summary = {.folder = folder.string()};
  read_records(run.metrics(), [&](const Record& record) { take(record, summary); });
  if (summary.attention.empty()) throw Error(cat(run.metrics().string(), ": there is no record of a start"));
  read_times(run.timing(), summary);
  return summary;
}

void print_run_table(const std::vector<RunSummary>& runs, std::ostream& out) {
  if (runs.empty()) return;
  refuse_other_data(runs);
  const int width = folder_width(runs);
  const auto row = [&](const std::string& folder, const std::array<std::string, 8>& cells) {
    constexpr std::array<int, 8> kWidths = {20, 9, 10, 12, 8, 10, 10, 9};
    std::ostringstream line;
    if (width > 0) line << std::left << std::setw(width) << folder;
    for (std::size_t i = 0; i < cells.size(); ++i)
      line << (i < 2 ? std::left : std::right) << std::setw(kWidths[i]) << cells[i];
    const std::string text = line.str();
    out << "  " << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
  };
  row("folder", {"attention", "model", "parameters", "validation", "test", "tokens/s", "peak MiB", "minutes"});
  for (const RunSummary& run : runs)
    row(run.folder, {run.attention, run.model, cat(run.parameters), accuracy_text(run.validation),
                     accuracy_text(run.test), run.tokens_per_second ? rate_text(*run.tokens_per_second) : "-",
                     run.peak_bytes ? cat(*run.peak_bytes >> 20) : "-", fixed_text(run.minutes, 1)});
  const auto complete =
      std::find_if(runs.begin(), runs.end(), [](const RunSummary& r) { return !r.baselines.empty(); });
  if (complete == runs.end()) return;
  for (const Baseline& baseline : complete->baselines)
    row("", {baseline.name, "", "", accuracy_text(baseline.validation), accuracy_text(baseline.test), "", "", ""});
}

}  // namespace subquad::lra
