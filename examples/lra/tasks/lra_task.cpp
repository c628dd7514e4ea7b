#include "subquad/examples/lra/tasks/lra_task.h"

#include <array>
#include <utility>

namespace subquad::lra {

std::string lra_task(const std::string& name) {
  static constexpr std::array<std::pair<const char*, const char*>, 8> kTasks = {{
      {"listops", "listops"},
      {"listops without brackets", "listops"},
      {"text", "text"},
      {"retrieval", "retrieval"},
      {"image", "image"},
      {"image, grey by pil", "image"},
      {"pathfinder, hard", "pathfinder"},
      {"path-x, hard", "path-x"},
  }};
  for (const auto& [task, column] : kTasks)
    if (name == task) return column;
  return "";
}

}  // namespace subquad::lra
