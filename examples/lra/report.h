// The table at the end of a run: accuracy beside the baselines, speed, memory.
#pragma once

#include <iosfwd>

#include "subquad/examples/lra/trainer.h"

namespace subquad::lra {

struct Baseline {
  std::string name;
  double validation = 0;  // accuracies
  double test = 0;
};

// Rules learnt on the training set that see a sequence's first token, where that means something, or nothing at all.
std::vector<Baseline> baselines(const Task& task);

void print_report(const TrainOptions& options, const Task& task, const Trainer& trainer,
                  const std::vector<TestResult>& results, std::ostream& out);

}  // namespace subquad::lra
