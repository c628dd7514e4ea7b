#include "subquad/examples/lra/tasks/pathfinder.h"

#include <numbers>
#include <optional>

#include "subquad/core/error.h"
#include "subquad/core/rng.h"
#include "subquad/examples/lra/tasks/pathfinder_oracle.h"

namespace subquad::lra {

namespace {

constexpr double kMostOverlap = 1.8;  // of two halos in a pixel that each could cover with 1
constexpr int kPaddleTries = 3;
constexpr int kDistractorTries = 5;
constexpr int kImageTries = 200'000;  // LRA's rules need some tens, those of Path-X some thousands

// Draws contours of one margin into an image that is empty at first.
class Growth {
 public:
  Growth(Rng& rng, const PathfinderRules& rules, double margin)
      : rng_(rng), rules_(rules), margin_(margin), empty_(static_cast<std::size_t>(rules.side * rules.side)) {
    const auto padding = static_cast<Index>(rules.padding);
    for (Index y = 0; y < rules.side; ++y)
      for (Index x = 0; x < rules.side; ++x)
        if (std::min({x, y, rules.side - 1 - x, rules.side - 1 - y}) < padding)
          empty_[static_cast<std::size_t>(y * rules.side + x)] = 1;
    const double widest_turn = std::numbers::pi / 2 / std::max(rules.continuity, 0.5);
    smallest_cosine_ = std::cos(widest_turn) + 1e-9;  // where the weight is 0, rounding must not make one of it
    const double radius = rules.paddle_length + margin;
    const auto count = static_cast<Index>(std::ceil(2 * std::numbers::pi * radius));
    for (Index i = 0; i < count; ++i)
      circle_.push_back(radius * direction(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(count)));
  }

  void start_again() { occupied_ = empty_; }

  // Both, or nothing when one of them finds no way.
  std::optional<std::array<Contour, 2>> targets() {
    std::array<Contour, 2> both;
    if (!seed_in_the_middle(both[0]) || !seed_around(both[0].front().tail, both[1])) return {};
    for (Index i = 1; i < rules_.contour_length; ++i)
      for (Contour& contour : both)
        if (!extend(contour)) return {};
    return both;
  }

  std::vector<Contour> distractors() {
    std::vector<Contour> found;
    for (Index i = 0; i < rules_.distractors; ++i) {
      if (100 * free_pixels() < rules_.side * rules_.side) break;
      for (int tries = 0; tries < kDistractorTries; ++tries) {
        const std::vector<float> before = occupied_;
        Contour contour;
        if (seed_anywhere(contour) && extend_to(contour, rules_.distractor_length)) {
          found.push_back(std::move(contour));
          break;
        }
        occupied_ = before;
      }
    }
    return found;
  }

 private:
  float& at(Index x, Index y) { return occupied_[static_cast<std::size_t>(y * rules_.side + x)]; }

  bool inside(Point p) const {
    const double last = static_cast<double>(rules_.side - 1);
    return p.x >= 0 && p.y >= 0 && p.x <= last && p.y <= last;
  }

  Index free_pixels() const { return std::count(occupied_.begin(), occupied_.end(), 0.0F); }

  Point whole_degree() { return direction(std::numbers::pi / 180 * static_cast<double>(rng_.below(360))); }
  static Point direction(double angle) { return {std::cos(angle), std::sin(angle)}; }

  Paddle paddle(Point pivot, Point forward) const {
    return {pivot, pivot + margin_ * forward, pivot + (margin_ + rules_.paddle_length) * forward, forward};
  }

  // Adds a paddle unless something else is in its way.
  bool place(Contour& contour, const Paddle& paddle) {
    if (!inside(paddle.pivot) || !inside(paddle.head)) return false;
    const Bar bar = {paddle.tail, paddle.forward, rules_.paddle_length, rules_.thickness};
    const double reach = margin_ + rules_.thickness / 2 + 0.5;
    halo_.clear();
    const auto fits = [&](Index x, Index y) {
      const auto halo = static_cast<float>(bar.halo({static_cast<double>(x), static_cast<double>(y)}, margin_));
      halo_.push_back(halo);
      return at(x, y) + halo < kMostOverlap;
    };
    if (!all_pixels_near(rules_.side, paddle.tail, paddle.head, reach, fits)) return false;
    auto halo = halo_.begin();
    for_pixels_near(rules_.side, paddle.tail, paddle.head, reach,
                    [&](Index x, Index y) { at(x, y) = std::max(at(x, y), *halo++); });
    contour.push_back(paddle);
    return true;
  }

  bool place_first(Contour& contour, Point tail, Point forward) {
    return place(contour, paddle(tail - margin_ * forward, forward));
  }

  // Tail on a pixel so far from every border that the second contour has room around it, too.
  bool seed_in_the_middle(Contour& contour) {
    const auto far = static_cast<Index>(std::ceil(2 * rules_.seed_distance));
    const Index room = rules_.side - 2 * far;
    if (room < 1)
      throw Error(cat("pathfinder: a side of ", rules_.side, " leaves no place 2 * ", rules_.seed_distance,
                      " pixels from every border"));
    const Point forward = whole_degree();
    for (Index tries = 0; tries < room * room; ++tries) {
      const Point tail = {static_cast<double>(far + rng_.below(room)), static_cast<double>(far + rng_.below(room))};
      if (place_first(contour, tail, forward)) return true;
    }
    return false;
  }

  bool seed_around(Point middle, Contour& contour) {
    for (int tries = 0; tries < kPaddleTries; ++tries) {
      const Point forward = whole_degree();
      if (place_first(contour, middle + rules_.seed_distance * whole_degree(), forward)) return true;
    }
    return false;
  }

  bool seed_anywhere(Contour& contour) {
    const Point forward = whole_degree();
    for (Index tries = 0; tries < rules_.side * rules_.side; ++tries) {
      const Index x = rng_.below(rules_.side), y = rng_.below(rules_.side);
      if (at(x, y) == 0 && place_first(contour, {static_cast<double>(x), static_cast<double>(y)}, forward)) return true;
    }
    return false;
  }

  bool extend_to(Contour& contour, Index paddles) {
    while (static_cast<Index>(contour.size()) < paddles)
      if (!extend(contour)) return false;
    return true;
  }

  struct Candidate {
    Point forward;
    double weight_up_to = 0;  // of it and of those before it
  };

  // One more paddle, whose head lies on a pixel of the circle around its pivot, or near it.
  bool extend(Contour& contour) {
    const Paddle& last = contour.back();
    const Point pivot = last.pivot + (rules_.paddle_length + 2 * margin_) * last.forward;
    find_candidates(pivot, last.forward);
    if (candidates_.empty()) return false;
    for (int tries = 0; tries < kPaddleTries; ++tries) {
      const double drawn = rng_.uniform() * candidates_.back().weight_up_to;
      const auto chosen = std::find_if(candidates_.begin(), candidates_.end() - 1,
                                       [&](const Candidate& c) { return drawn < c.weight_up_to; });
      if (place(contour, paddle(pivot, chosen->forward))) return true;
    }
    return false;
  }

  void find_candidates(Point pivot, Point straight) {
    candidates_.clear();
    double sum = 0;
    Point before = {-1, -1};
    for (const Point offset : circle_) {
      const Point exact = pivot + offset;
      const Point pixel = {std::round(exact.x), std::round(exact.y)};
      if (!inside(pixel) || (pixel.x == before.x && pixel.y == before.y)) continue;
      before = pixel;
      const Point forward = (1 / length(pixel - pivot)) * (pixel - pivot);
      if (dot(forward, straight) <= smallest_cosine_) continue;
      const double turn = std::acos(std::min(dot(forward, straight), 1.0));
      const double cosine = std::cos(rules_.continuity * turn);
      const double free = 1 - at(static_cast<Index>(pixel.x), static_cast<Index>(pixel.y));
      if (free <= 0) continue;
      sum += cosine * cosine * free;
      candidates_.push_back({forward, sum});
    }
  }

  Rng& rng_;
  const PathfinderRules& rules_;
  double margin_;
  double smallest_cosine_;       // of a turn
  std::vector<float> empty_;     // [side, side]: the padding
  std::vector<float> occupied_;  // and the halos of all paddles
  std::vector<Point> circle_;    // where a paddle's head may lie, seen from its pivot
  std::vector<float> halo_;      // of a paddle, pixel by pixel
  std::vector<Candidate> candidates_;
};

// Takes the brighter of what is there and what comes.
class Canvas {
 public:
  explicit Canvas(const PathfinderRules& rules)
      : rules_(rules), light_(static_cast<std::size_t>(rules.side * rules.side)) {}

  void draw(const Contour& contour, double contrast) {
    for (const Paddle& paddle : contour) {
      const Bar bar = {paddle.tail, paddle.forward, rules_.paddle_length, rules_.thickness};
      for_pixels_near(rules_.side, paddle.tail, paddle.head, rules_.thickness / 2 + 1,
                      [&](Index x, Index y) { brighten(x, y, contrast * bar.coverage(point(x, y))); });
    }
  }

  void draw_marker(Point centre) {
    for_pixels_near(rules_.side, centre, centre, rules_.marker_radius + 1, [&](Index x, Index y) {
      brighten(x, y, disc_coverage(point(x, y), centre, rules_.marker_radius));
    });
  }

  std::vector<std::uint8_t> pixels() const {
    const double brightest = *std::max_element(light_.begin(), light_.end());
    const double unit = rules_.equal_contrast ? 1 : brightest;
    std::vector<std::uint8_t> out;
    out.reserve(light_.size());
    for (const double light : light_) out.push_back(static_cast<std::uint8_t>(std::lround(255 * light / unit)));
    return out;
  }

 private:
  static Point point(Index x, Index y) { return {static_cast<double>(x), static_cast<double>(y)}; }

  void brighten(Index x, Index y, double light) {
    double& here = light_[static_cast<std::size_t>(y * rules_.side + x)];
    here = std::max(here, light);
  }

  const PathfinderRules& rules_;
  std::vector<double> light_;
};

void render(PathfinderImage& image, const PathfinderRules& rules) {
  // A line thinner than a pixel never covers one: equal contours are lifted so that it shines with 3/4 where it can.
  const double equal = std::max(1.0, 0.75 / rules.thickness);
  Canvas canvas(rules);
  for (const Contour& contour : image.targets)
    canvas.draw(contour, rules.equal_contrast ? equal : rules.target_contrast);
  for (const Contour& contour : image.distractors)
    canvas.draw(contour, rules.equal_contrast ? equal : rules.distractor_contrast);
  for (const Point marker : image.markers) canvas.draw_marker(marker);
  image.pixels = canvas.pixels();
}

}  // namespace

PathfinderImage draw_pathfinder(std::uint64_t seed, std::uint64_t number, const PathfinderRules& rules) {
  Rng rng(seed, stream_id("pathfinder") + number);
  PathfinderImage image;
  image.label = static_cast<int>(rng.below(2));
  std::vector<Growth> growths;
  for (const double margin : rules.margins) growths.emplace_back(rng, rules, margin);
  for (int tries = 0; tries < kImageTries; ++tries) {
    const auto choice = static_cast<std::size_t>(rng.below(static_cast<Index>(growths.size())));
    Growth& growth = growths[choice];
    growth.start_again();
    std::optional<std::array<Contour, 2>> targets = growth.targets();
    if (!targets) continue;
    image.targets = std::move(*targets);
    image.distractors = growth.distractors();
    image.margin = rules.margins[choice];
    const auto first = static_cast<std::size_t>(rng.below(2));
    const std::size_t second = image.label == 1 ? first : 1 - first;
    image.markers = {image.targets[first].front().tail, image.targets[second].back().head};
    if (oracle_agrees(image, rules)) {
      render(image, rules);
      return image;
    }
    ++image.redrawn;
  }
  throw Error(cat("pathfinder: no image of contours of ", rules.contour_length, " paddles on ", rules.side, " x ",
                  rules.side, " pixels came up"));
}

}  // namespace subquad::lra
