#include <filesystem>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/pathfinder_folder.h"
#include "subquad/examples/lra/tasks/png.h"
#include "subquad/examples/lra/tasks/raw_input.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

template <Index side>
std::vector<ExpectedFile> expected(const std::string& folder) {
  return {{cat("pathfinder", side), fs::is_directory(fs::path(folder) / cat("pathfinder", side))}};
}

// "; it holds easy, hard", so that a wrong --difficulty is seen.
std::string levels_in(const fs::path& folder, Index side) {
  std::string found;
  for (const PathfinderLevel level : kPathfinderLevels)
    if (fs::is_directory(folder / pathfinder_folder(side, level)))
      found += cat(found.empty() ? "; it holds " : ", ", pathfinder_level_name(level));
  return found;
}

template <Index side>
Task load(const TaskSource& source) {
  const fs::path folder = fs::path(source.folder) / pathfinder_folder(side, source.difficulty);
  if (!fs::is_directory(folder))
    throw Error(cat("--data ", source.folder, ": there is no ", pathfinder_folder(side, source.difficulty),
                    " for --difficulty ", pathfinder_level_name(source.difficulty), levels_in(source.folder, side)));
  PathfinderSets sets = read_pathfinder(folder, side);
  Task task;
  task.name = cat(side == 32 ? "pathfinder" : "path-x", ", ", pathfinder_level_name(source.difficulty));
  task.shape = {.vocabulary = 256, .classes = 2};
  task.train = std::move(sets.train);
  task.validation = std::move(sets.validation);
  task.test = std::move(sets.test);
  task.class_names = {"apart", "connected"};
  task.notes = {"split 80/10/10 by a shuffle of our own with seed 42; LRA's is the order of TensorFlow's files"};
  if (fs::exists(fs::path(source.folder) / "make_data.json"))
    task.notes.push_back("images of our own generator, not LRA's: a score is comparable only where that is said");
  if (sets.empty > 0)
    task.notes.push_back(cat("empty PNG files left out: ", sets.empty, ", the first is ", sets.first_empty));
  return task;
}

template <Index side>
EncodedInput encode(const RawInput& raw) {
  GreyImage image = decode_png(raw.name, {reinterpret_cast<const std::uint8_t*>(raw.bytes.data()), raw.bytes.size()});
  check_png_size(raw.name, image.width, image.height, side);
  EncodedInput encoded;
  encoded.tokens = std::move(image.pixels);
  return encoded;
}

}  // namespace

EncodedInput encode_pathfinder(const TaskSource&, const RawInput& raw) {
  return encode<32>(raw);
}

EncodedInput encode_path_x(const TaskSource&, const RawInput& raw) {
  return encode<128>(raw);
}

TaskKind pathfinder_kind() {
  return {.name = "pathfinder",
          .about = "whether a dashed line joins two points, 32 x 32",
          .nominal = 1024,
          .generated = true,
          .origin = "",
          .expected = expected<32>,
          .load = load<32>};
}

TaskKind path_x_kind() {
  return {.name = "path-x",
          .about = "the same, 128 x 128",
          .nominal = 16384,
          .generated = true,
          .origin = "",
          .expected = expected<128>,
          .load = load<128>};
}

}  // namespace subquad::lra
