// What is said of several runs together: mean and deviation over seeds, and Long Range Arena's averages over tasks.
#pragma once

#include <iosfwd>

#include "subquad/examples/lra/run_summary.h"
#include "subquad/examples/lra/spread.h"

namespace subquad::lra {

// Runs with the same task, data and settings, in the order in which they come first.
std::vector<std::vector<RunSummary>> by_settings(const std::vector<RunSummary>& runs);

// Of each such group with two seeds or more: over how many, and mean and deviation of the best checkpoints. Nothing
// where there is none. A run that stands there twice counts once.
void print_seed_means(const std::vector<RunSummary>& runs, std::ostream& out);

// For each model with an attention, two averages of test accuracy over tasks, each by its name: LRA's own, over the
// five tasks without Path-X, and that of S4's paper, over six, where a Path-X that is missing counts as 50 %. Where
// cells are missing, or one has runs of several settings, it says so in place of a number. A cell is the mean over its
// seeds.
void print_task_averages(const std::vector<RunSummary>& runs, std::ostream& out);

}  // namespace subquad::lra
