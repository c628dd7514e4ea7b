#include "subquad/examples/lra/tasks/pathfinder_oracle.h"

namespace subquad::lra {

namespace {

constexpr Index kFiner = 4;

Point scaled(Point p) {  // the centre of a pixel lies between the middle ones of its cells
  constexpr double kMiddle = (kFiner - 1) / 2.0;
  return {kFiner * p.x + kMiddle, kFiner * p.y + kMiddle};
}

double distance_to_segment(Point p, Point a, Point b) {
  const Point along = b - a;
  const double squared = dot(along, along);
  const double t = squared > 0 ? std::clamp(dot(p - a, along) / squared, 0.0, 1.0) : 0.0;
  return length(p - (a + t * along));
}

}  // namespace

UndashedImage::UndashedImage(const PathfinderImage& image, const PathfinderRules& rules)
    : side_(kFiner * rules.side), line_(static_cast<std::size_t>(side_ * side_)) {
  const double radius = std::max(kFiner * rules.thickness / 2, 1.0);  // thinner lines could have holes
  const auto trace = [&](const Contour& contour) {
    for (std::size_t i = 0; i < contour.size(); ++i) {
      draw(contour[i].tail, contour[i].head, radius);
      if (i == 0) continue;
      draw(contour[i - 1].head, contour[i].pivot, radius);
      draw(contour[i].pivot, contour[i].tail, radius);
    }
  };
  for (const Contour& contour : image.targets) trace(contour);
  for (const Contour& contour : image.distractors) trace(contour);
}

void UndashedImage::draw(Point from, Point to, double radius) {
  const Point a = scaled(from), b = scaled(to);
  for_pixels_near(side_, a, b, radius, [&](Index x, Index y) {
    const Point p = {static_cast<double>(x), static_cast<double>(y)};
    if (distance_to_segment(p, a, b) <= radius) line_[static_cast<std::size_t>(y * side_ + x)] = 1;
  });
}

Index UndashedImage::cell(Point p) const {
  const Point at = scaled(p);
  const auto nearest = [&](double v) { return std::clamp<Index>(std::llround(v), 0, side_ - 1); };
  return nearest(at.y) * side_ + nearest(at.x);
}

bool UndashedImage::connected(Point from, Point to) const {
  std::vector<std::uint8_t> dry = line_;
  std::vector<Index> open;
  const auto pour = [&](Index at) {
    if (dry[static_cast<std::size_t>(at)] == 0) return;
    dry[static_cast<std::size_t>(at)] = 0;
    open.push_back(at);
  };
  pour(cell(from));
  const bool on_line = !open.empty();
  while (!open.empty()) {
    const Index at = open.back(), x = at % side_, y = at / side_;
    open.pop_back();
    if (x > 0) pour(at - 1);
    if (x + 1 < side_) pour(at + 1);
    if (y > 0) pour(at - side_);
    if (y + 1 < side_) pour(at + side_);
  }
  const auto end = static_cast<std::size_t>(cell(to));
  return on_line && line_[end] == 1 && dry[end] == 0;
}

bool oracle_agrees(const PathfinderImage& image, const PathfinderRules& rules) {
  const UndashedImage lines(image, rules);
  const auto& [a, b] = image.targets;
  return lines.connected(image.markers[0], image.markers[1]) == (image.label == 1) &&
         lines.connected(a.front().tail, a.back().head) && lines.connected(b.front().tail, b.back().head) &&
         !lines.connected(a.front().tail, b.front().tail);
}

}  // namespace subquad::lra
