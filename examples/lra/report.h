// The table at the end of a run: accuracy beside the baselines, speed, memory.
#pragma once

#include <iosfwd>

#include "subquad/examples/lra/trainer.h"

namespace subquad::lra {

void print_report(const TrainOptions& options, const Task& task, const Trainer& trainer,
                  const std::vector<TestResult>& results, std::ostream& out);

}  // namespace subquad::lra
