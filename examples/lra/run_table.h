// Several runs on the same data, one row each: what they reached and what it cost.
#pragma once

#include <iosfwd>

#include "subquad/examples/lra/run_summary.h"

namespace subquad::lra {

// Error naming both when two runs saw different data. What was not measured is "-"; where an attention comes twice, the
// folders stand first. Baselines stand below the runs, and below them the mean over runs that differ by their seed
// alone.
void print_run_table(const std::vector<RunSummary>& runs, std::ostream& out);

// A table for each task, in the order in which they come first; of several tasks, the averages after them.
void print_run_tables(const std::vector<RunSummary>& runs, std::ostream& out);

}  // namespace subquad::lra
