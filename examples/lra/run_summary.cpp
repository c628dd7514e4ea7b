#include "subquad/examples/lra/run_summary.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include "subquad/core/error.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_folder.h"

namespace subquad::lra {

namespace {

// Of these the result does not depend, to rounding, or they are what runs of one configuration differ by.
constexpr std::array kNoSettings = {"seed",      "seeds",
                                    "data",      "out",
                                    "device",    "cuda-graph",
                                    "threads",   "max-minutes",
                                    "log-every", "checkpoint-every",
                                    "keep",      "progress-seconds",
                                    "accumulate"};

std::string settings_in(const std::filesystem::path& config) {
  std::ifstream file(config);
  std::string settings;
  for (std::string line; std::getline(file, line);) {
    const std::string key = line.substr(0, line.find('='));
    const bool setting = !line.empty() && line.front() != '#' &&
                         std::find(kNoSettings.begin(), kNoSettings.end(), key) == kNoSettings.end();
    if (setting) settings += line + '\n';
  }
  return settings;
}

void take_test(const Record& record, RunSummary& run) {
  const std::string checkpoint = text_field(record, "checkpoint");
  const double accuracy = field(record, "accuracy", 0.0);
  if (checkpoint.starts_with("best")) run.test = accuracy;
  if (!checkpoint.ends_with("last")) return;
  run.last_test = accuracy;
  run.last_step = field(record, "step", Index{0});
}

void take(const Record& record, RunSummary& run) {
  const std::string kind = text_field(record, "kind");
  if (kind == "start") {
    run.attention = text_field(record, "attention");
    run.model = text_field(record, "model", "encoder");
    run.task = text_field(record, "task");
    run.data_hash = text_field(record, "data_hash");
    run.seed = field(record, "seed", std::uint64_t{0});
    run.parameters = field(record, "parameters", Index{0});
  } else if (kind == "validation") {
    run.last_validation = field(record, "accuracy", 0.0);
    if (run.validation && *run.validation >= *run.last_validation) return;
    run.validation = run.last_validation;
    run.best_step = field(record, "step", Index{0});
  } else if (kind == "test") {
    take_test(record, run);
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

}  // namespace

RunSummary read_begun_run(const std::filesystem::path& folder) {
  const RunFolder run = RunFolder::open(folder);
  RunSummary summary = {.folder = folder.string(), .settings = settings_in(run.config())};
  read_records(run.metrics(), [&](const Record& record) { take(record, summary); });
  read_times(run.timing(), summary);
  return summary;
}

RunSummary read_run(const std::filesystem::path& folder) {
  RunSummary summary = read_begun_run(folder);
  if (summary.attention.empty())
    throw Error(cat(RunFolder::open(folder).metrics().string(), ": there is no record of a start"));
  return summary;
}

}  // namespace subquad::lra
