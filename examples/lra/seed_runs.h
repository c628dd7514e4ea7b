// Runs that differ by their seed alone, one after another. OUT/seed-1, OUT/seed-2, ... are folders of runs as any other
// (run_folder.h); beside them stand
//
//   OUT/config.toml  what they have in common; --resume reads it back
//   OUT/seeds.json   what those that are through have reached, with mean and deviation
//   OUT/lock         as in a run's folder
#pragma once

#include "subquad/examples/lra/run_summary.h"
#include "subquad/examples/lra/single_run.h"

namespace subquad::lra {

// Goes through options.seeds; those that were through before are passed over, one that was stopped goes on. Ends with a
// table on the standard output. False when it was stopped, which it has told with the command that goes on.
bool seed_runs(const TrainOptions& options, const Task& task, ProgressLine& progress, const StopRequest& stop);

// Accuracies of the best and of the last checkpoint of each run, below them mean and deviation.
void print_seed_table(const std::vector<RunSummary>& runs, std::ostream& out);

}  // namespace subquad::lra
