// Several runs on the same data, one row each: what they reached and what it cost.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <vector>

#include "subquad/examples/lra/baselines.h"

namespace subquad::lra {

// What a run's records say of it.
struct RunSummary {
  std::string attention = {};
  std::string model = {};
  std::string task = {};
  std::string data_hash = {};
  Index parameters = 0;
  std::optional<double> validation = {};  // the best accuracy so far
  std::optional<double> test = {};        // of that checkpoint; nothing while the run is not through
  std::vector<Baseline> baselines = {};   // as the finished run computed them
  double tokens_per_second = 0;           // of the last session
  std::uint64_t peak_bytes = 0;           // of the process
  double minutes = 0;                     // training and validation, all sessions
};

// Error when the folder is no run's, or its records have no start; FormatError naming file and line for a broken line
// that is not the last one.
RunSummary read_run(const std::filesystem::path& folder);

// Error naming both when two runs saw different data. Baselines stand below the runs.
void print_run_table(const std::vector<RunSummary>& runs, std::ostream& out);

}  // namespace subquad::lra
