// What a run's files say of it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "subquad/examples/lra/baselines.h"

namespace subquad::lra {

struct RunSummary {
  std::string folder = {};  // as it was given
  std::string attention = {};
  std::string model = {};
  std::string task = {};
  std::string data_hash = {};
  std::uint64_t seed = 0;
  std::string settings = {};  // lines of config.toml on which its result depends, but for the seed's
  Index parameters = 0;

  Index best_step = 0;                         // of the best validation so far; 0: none yet
  std::optional<double> validation = {};       // its accuracy
  std::optional<double> test = {};             // of that checkpoint; nothing while the run is not through
  Index last_step = 0;                         // of the last checkpoint, once that is tested
  std::optional<double> last_validation = {};  // accuracies
  std::optional<double> last_test = {};

  std::vector<Baseline> baselines = {};          // as the finished run computed them
  std::optional<double> tokens_per_second = {};  // of the last session
  std::optional<std::uint64_t> peak_bytes = {};  // of the process
  std::optional<double> minutes = {};            // training and validation, all sessions

  // Was all tested? Of no steps, there is only a last checkpoint.
  bool complete() const { return test || (last_test && last_step == 0); }
};

// Error when the folder is no run's, or its records have no start; FormatError naming file and line for a broken line
// that is not the last one, and for a field of another type.
RunSummary read_run(const std::filesystem::path& folder);

// The same, but without a start as long as none was written.
RunSummary read_begun_run(const std::filesystem::path& folder);

}  // namespace subquad::lra
