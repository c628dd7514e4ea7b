// How to come by the data of a task that make_data generates.
#pragma once

#include <string>

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

// "make_data --task pathfinder --difficulty easy --out FOLDER --seed 1": what `source` reads.
std::string make_command(const TaskKind& kind, const TaskSource& source, const std::string& folder);

}  // namespace subquad::lra
