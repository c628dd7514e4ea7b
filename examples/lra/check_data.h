// What train_lra --check-data prints: the files of a task's data and what is in them.
#pragma once

#include <ostream>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

// Which files are there and where such data come from; then of each set how many samples, how long its sequences are
// and how many samples each class has; then hash and notes. What keeps the task from being trained on is thrown as
// load_task throws it, after all that could be said has been printed. Says, too, how many sequences a model of
// `max_length` positions would refuse.
void check_data(const TaskSource& source, Index max_length, std::ostream& out);

}  // namespace subquad::lra
