// Pathfinder as Long Range Arena sets it: dashed contours among dashed distractors; two round markers stand at the two
// ends of one contour (label 1) or at an end of each of two (label 0). This file draws one image.
//
//   contour = paddles (short bars) in a chain; the gap between two is 2 margins wide and bends at its middle, the pivot
//   target  = one of the two contours whose ends may be marked; they start `seed_distance` apart
//   halo    = a paddle and all within `margin` of it; halos of different paddles may touch, hardly overlap
//
// Source: Tay et al., "Long Range Arena" (ICLR 2021), its dataset builder's parameters, and the generator that it
// calls, drewlinsley/pathfinder (snakes2.py). Differs from it: lines are drawn by the area they cover of each pixel,
// not by a Lanczos filter; all contours are equally bright unless asked otherwise, since brightness would tell targets
// from distractors; an oracle has looked at each image. So scores are not comparable without the words "own generator".
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "subquad/examples/lra/tasks/pathfinder_rules.h"
#include "subquad/examples/lra/tasks/pathfinder_shapes.h"

namespace subquad::lra {

struct Paddle {
  Point pivot;  // a margin before the tail
  Point tail;
  Point head;
  Point forward;  // unit vector from tail to head
};
using Contour = std::vector<Paddle>;

struct PathfinderImage {
  int label = 0;
  double margin = 0;
  std::array<Contour, 2> targets;
  std::vector<Contour> distractors;
  std::array<Point, 2> markers;
  std::vector<std::uint8_t> pixels;  // [side, side], row by row
  Index redrawn = 0;                 // images that the oracle refused before this one
};

// Image `number` of a seed, a pure function of the arguments. Its label is a fair coin on which the contours do not
// depend. Error when no image obeys the rules among very many tries.
PathfinderImage draw_pathfinder(std::uint64_t seed, std::uint64_t number, const PathfinderRules& rules);

}  // namespace subquad::lra
