// What is reached without looking at a sequence, or at its first token only: the accuracies that a model must beat.
#pragma once

#include <string>
#include <vector>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

std::vector<Index> label_counts(const Sequences& set, Index classes);

// Rules learned on `train`, their accuracy on `other` (0 for an empty set). Of labels that are equally frequent the
// smallest is chosen.
double majority_accuracy(const Sequences& train, const Sequences& other);
// The most frequent label for each first token; for one that `train` does not have, the most frequent label of all. For
// ListOps the first token is the root operator.
double first_token_accuracy(const Sequences& train, const Sequences& other);

struct RuleAccuracy {
  std::string name;
  double accuracy = 0;
};

// All that mean something for a task, and chance, on one of its sets.
std::vector<RuleAccuracy> baselines_on(const Task& task, const Sequences& set);

struct Baseline {
  std::string name;
  double validation = 0;  // accuracies
  double test = 0;
};

// The same on both sets that are not trained on.
std::vector<Baseline> baselines(const Task& task);

}  // namespace subquad::lra
