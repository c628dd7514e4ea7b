// Every task's entry in the table of task.h.
#pragma once

#include "subquad/examples/lra/tasks/task.h"

namespace subquad::lra {

TaskKind custom_kind();
TaskKind image_kind();
TaskKind imdb_pairs_kind();
TaskKind listops_kind();
TaskKind path_x_kind();
TaskKind pathfinder_kind();
TaskKind retrieval_kind();
TaskKind text_kind();

}  // namespace subquad::lra
