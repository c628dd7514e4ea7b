// One run, from its folder to its report.
#pragma once

#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/stop_request.h"
#include "subquad/examples/lra/tasks/task.h"
#include "subquad/examples/lra/train_options.h"

namespace subquad::lra {

struct RunEnd {
  bool complete = false;  // else stopped before its end; it is saved then
  Index step = 0;
};

// The configuration, and what there is to say of the data.
void introduce(const TrainOptions& options, const Task& task, ProgressLine& progress);

// Makes the folder options.out, or goes on with the run in it where options.resume says so; trains, tests, and prints
// the report to the standard output. `introduced`: introduce() was called already, for several runs.
RunEnd single_run(const TrainOptions& options, const Task& task, ProgressLine& progress, const StopRequest& stop,
                  bool introduced = false);

}  // namespace subquad::lra
