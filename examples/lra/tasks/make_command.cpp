#include "subquad/examples/lra/tasks/make_command.h"

#include "subquad/core/error.h"

namespace subquad::lra {

std::string make_command(const TaskKind& kind, const TaskSource& source, const std::string& folder) {
  const bool levels = kind.name == "pathfinder" || kind.name == "path-x";
  const std::string level = levels && source.difficulty != PathfinderLevel::hard
                                ? cat(" --difficulty ", pathfinder_level_name(source.difficulty))
                                : std::string();
  return cat("make_data --task ", kind.name, level, " --out ", folder, " --seed 1");
}

}  // namespace subquad::lra
