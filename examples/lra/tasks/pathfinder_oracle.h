// Solves a Pathfinder image from its contours: the gaps are closed, then paint is poured on a point.
#pragma once

#include "subquad/examples/lra/tasks/pathfinder.h"

namespace subquad::lra {

// The contours of an image without gaps, as thick as their paddles, on a grid four times as fine as its pixels.
class UndashedImage {
 public:
  UndashedImage(const PathfinderImage& image, const PathfinderRules& rules);

  // Whether paint poured on `from` flows to `to` along the contours; both must lie on one.
  bool connected(Point from, Point to) const;

 private:
  Index cell(Point p) const;
  void draw(Point a, Point b, double radius);

  Index side_;
  std::vector<std::uint8_t> line_;  // [side_, side_]
};

// Whether the label is right, and would be with any other two ends of the targets marked: each target hangs together,
// and they are apart. (All four ends are asked, so that an image is refused irrespective of its label.)
bool oracle_agrees(const PathfinderImage& image, const PathfinderRules& rules);

}  // namespace subquad::lra
