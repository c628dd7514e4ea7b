// What eval_lra says of a checkpoint's score on a set.
#pragma once

#include <ostream>
#include <string>

#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/evaluation.h"
#include "subquad/examples/lra/record_log.h"

namespace subquad::lra {

struct Score {
  std::string run;         // folder
  std::string checkpoint;  // best, last or a file
  Index step = 0;
  std::string split;  // test, validation or train
  std::string model;  // "softmax attention, 4618 parameters, seed 1"
  std::vector<std::string> notes;
  Evaluation found;
};

// `set` is the one of the task's sets that the score is on. Table of accuracy and baselines, of classes, and of which
// class was taken for which.
void print_score(const Score& score, const Task& task, const Sequences& set, std::ostream& out);

// The same, with all digits.
Record score_record(const Score& score, const Task& task, const Sequences& set);

// A line a sample, with tabs between number, label, predicted class and its probability, below a header. The predicted
// class is empty where the model gave none.
std::string prediction_lines(const Evaluation& found, const Task& task, const Sequences& set);

}  // namespace subquad::lra
