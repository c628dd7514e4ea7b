#include "subquad/examples/lra/run_table.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <set>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/averages.h"
#include "subquad/examples/lra/progress.h"

namespace subquad::lra {

namespace {

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

void print_run_tables(const std::vector<RunSummary>& runs, std::ostream& out) {
  std::vector<std::vector<RunSummary>> tasks;
  for (const RunSummary& run : runs) {
    const auto task =
        std::find_if(tasks.begin(), tasks.end(), [&](const auto& t) { return t.front().task == run.task; });
    if (task == tasks.end())
      tasks.push_back({run});
    else
      task->push_back(run);
  }
  for (const std::vector<RunSummary>& task : tasks) refuse_other_data(task);
  for (const std::vector<RunSummary>& task : tasks) {
    if (tasks.size() > 1) out << task.front().task << '\n';
    print_run_table(task, out);
    print_seed_means(task, out);
    if (tasks.size() > 1) out << '\n';
  }
  if (tasks.size() > 1) print_task_averages(runs, out);
}

}  // namespace subquad::lra
