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
  std::string folder = {};  // as it was given
  std::string attention = {};
  std::string model = {};
  std::string task = {};
  std::string data_hash = {};
  Index parameters = 0;
  std::optional<double> validation = {};         // the best accuracy so far
  std::optional<double> test = {};               // of that checkpoint; nothing while the run is not through
  std::vector<Baseline> baselines = {};          // as the finished run computed them
  std::optional<double> tokens_per_second = {};  // of the last session
  std::optional<std::uint64_t> peak_bytes = {};  // of the process
  std::optional<double> minutes = {};            // training and validation, all sessions
};

// Error when the folder is no run's, or its records have no start; FormatError naming file and line for a broken line
// that is not the last one, and for a field of another type.
RunSummary read_run(const std::filesystem::path& folder);

// Error naming both when two runs saw different data. What was not measured is "-"; where an attention comes twice, the
// folders stand first. Baselines stand below the runs.
void print_run_table(const std::vector<RunSummary>& runs, std::ostream& out);

}  // namespace subquad::lra
