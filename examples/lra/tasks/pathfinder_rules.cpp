#include "subquad/examples/lra/tasks/pathfinder_rules.h"

#include "subquad/core/error.h"

namespace subquad::lra {

namespace {

constexpr std::array<std::string_view, 3> kLevelNames = {"easy", "intermediate", "hard"};

PathfinderRules with_level(PathfinderRules rules, PathfinderLevel level, Index distractor_paddles) {
  constexpr std::array<Index, 3> kContourLengths = {6, 9, 14};
  rules.contour_length = kContourLengths[static_cast<std::size_t>(level)];
  rules.distractor_length = rules.contour_length / 3;
  rules.distractors = distractor_paddles / rules.distractor_length;
  return rules;
}

}  // namespace

PathfinderLevel parse_pathfinder_level(std::string_view name) {
  for (const PathfinderLevel level : kPathfinderLevels)
    if (name == pathfinder_level_name(level)) return level;
  throw Error(cat("difficulty: '", name, "', expected easy, intermediate or hard"));
}

std::string_view pathfinder_level_name(PathfinderLevel level) {
  return kLevelNames[static_cast<std::size_t>(level)];
}

PathfinderRules pathfinder_rules(PathfinderLevel level) {
  return with_level({}, level, 20);
}

PathfinderRules path_x_rules(PathfinderLevel level) {
  const PathfinderRules rules = {.side = 128,
                                 .paddle_length = 5,
                                 .thickness = 1.5,
                                 .margins = {2, 3},
                                 .marker_radius = 3,
                                 .seed_distance = 20,
                                 .continuity = 1.8,
                                 .target_contrast = 0.9,  // the builder names no second contrast
                                 .distractor_contrast = 0.9};
  return with_level(rules, level, 35);
}

}  // namespace subquad::lra
