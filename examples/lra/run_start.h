// What a run has written down of its task, so that its checkpoints can be used without its data.
#pragma once

#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

struct RunStart {
  TaskShape shape;
  std::vector<std::string> class_names;  // one a class
};

// From the first record of its metrics. FormatError naming what is missing there, as it is where an earlier version of
// train_lra has begun the run, or is not of its type.
RunStart read_run_start(const RunFolder& run);

}  // namespace subquad::lra
