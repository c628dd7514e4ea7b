// One safetensors file with everything a resumed run needs: parameters, optimiser moments, and in its metadata the
// step, the place in the data, the seed of all random numbers, and what has been recorded so far. Written atomically.
#pragma once

#include <filesystem>

#include "subquad/examples/lra/learner.h"

namespace subquad::lra {

// Where a run stands between two steps.
struct RunState {
  Index step = 0;       // steps taken
  Index evaluated = 0;  // the step of the last validation
  double accuracy = 0;  // that it found
  Index best_step = 0;  // of the validation with the best accuracy, the first of equals; 0: none yet
  double best_accuracy = 0;
  Index stale = 0;                   // validations since the best one, none of them better
  Tally window;                      // since the last training record
  std::uintmax_t metrics_bytes = 0;  // length of metrics.jsonl

  friend bool operator==(const RunState&, const RunState&) = default;
};

// What must be the same for a checkpoint to go on bit for bit.
struct RunIdentity {
  std::uint64_t seed = 0;
  Index steps = 0;        // of the whole run; no checkpoint is beyond
  std::string data_hash;  // of all three sets
  Index batches_per_epoch = 0;
};

void save_checkpoint(const std::filesystem::path& path, const Learner& learner, const RunState& state,
                     const RunIdentity& identity);

// FormatError when the file is not one of ours, or a number of its state cannot be; Error that names the first
// parameters that differ when it is of another model, or says what else differs.
RunState load_checkpoint(const std::filesystem::path& path, Learner& learner, const RunIdentity& identity);

// What a checkpoint says of the run that it is of.
struct CheckpointOrigin {
  Index step = 0;
  std::string data_hash;
};

// The parameters alone; the file is opened once, so another one may take its place meanwhile. Complains as
// load_checkpoint does.
CheckpointOrigin load_checkpoint_model(const std::filesystem::path& path, Learner& learner);

}  // namespace subquad::lra
