// Sizes of Pathfinder and Path-X images. What the words mean: pathfinder.h. Source: the parameters of LRA's dataset
// builder; where it names none for easy and intermediate, the original generator's rule.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

enum class PathfinderLevel { easy, intermediate, hard };  // contours of 6, 9, 14 paddles; LRA's task is hard

PathfinderLevel parse_pathfinder_level(std::string_view name);  // Error "difficulty: 'x', expected ..."
std::string_view pathfinder_level_name(PathfinderLevel level);
inline constexpr std::array kPathfinderLevels = {PathfinderLevel::easy, PathfinderLevel::intermediate,
                                                 PathfinderLevel::hard};

struct PathfinderRules {
  Index side = 32;  // of the square image; lengths below are in pixels
  double padding = 1;
  double paddle_length = 2;
  double thickness = 0.5;
  // One of them for all paddles of an image. Drawn anew with every try, and contours with wide gaps rarely find a way:
  // of Path-X's two, nearly all images have the smaller one.
  std::vector<double> margins = {1};
  double marker_radius = 1.5;
  double seed_distance = 7;
  double continuity = 1;  // a turn of `a` has a weight of cos(continuity * a)^2; none beyond the first 0 of it
  Index contour_length = 14;
  Index distractor_length = 4;
  Index distractors = 5;  // at most; one that finds no place is left out
  bool equal_contrast = true;
  // Without equal_contrast, before the brightest pixel becomes 255; markers have 1.
  double target_contrast = 1.5;
  double distractor_contrast = 2;
};

PathfinderRules pathfinder_rules(PathfinderLevel level);  // 32 x 32
PathfinderRules path_x_rules(PathfinderLevel level);      // 128 x 128

}  // namespace subquad::lra
