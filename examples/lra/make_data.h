// What make_data's generators share: its options, and how they end. Each generator stands in a file of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "subquad/examples/lra/stop_request.h"
#include "subquad/examples/lra/tasks/listops.h"
#include "subquad/examples/lra/tasks/pathfinder_rules.h"

namespace subquad::lra {

struct MakeDataOptions {
  std::string task;
  std::filesystem::path out;
  std::uint64_t seed = 1;
  Index count = 0;  // training samples of listops, images of the others
  int threads = 0;

  ListopsLengths lengths;  // listops

  PathfinderLevel difficulty = PathfinderLevel::hard;  // pathfinder, path-x
  bool equal_contrast = true;
};

// Thrown where a signal has come: what to say of what is made so far.
struct Stopped {
  std::string message;
};

// Both fill `out`, see unfinished_folder.h. The files are a function of the options but for threads.
void make_listops(const MakeDataOptions& options, const StopRequest& stop);
// What an early end leaves behind is gone on with.
void make_pathfinder(const MakeDataOptions& options, const StopRequest& stop);

}  // namespace subquad::lra
