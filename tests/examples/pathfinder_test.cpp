#include "subquad/examples/lra/tasks/pathfinder.h"

#include <doctest/doctest.h>

#include <numbers>

#include "subquad/core/error.h"
#include "subquad/core/parallel.h"
#include "subquad/examples/lra/tasks/pathfinder_oracle.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

struct Set {
  std::string name;
  PathfinderRules rules;
  Index count = 0;
};

std::vector<Set> sets() {
  std::vector<Set> all;
  for (const PathfinderLevel level : kPathfinderLevels) {
    const std::string name(pathfinder_level_name(level));
    all.push_back({"32 " + name, pathfinder_rules(level), 60});
    all.push_back({"128 " + name, path_x_rules(level), 4});
  }
  return all;
}

std::vector<PathfinderImage> draw(const Set& set) {
  std::vector<PathfinderImage> images(static_cast<std::size_t>(set.count));
  parallel_for(set.count, 1'000'000, [&](Index i) {
    images[static_cast<std::size_t>(i)] = draw_pathfinder(1, static_cast<std::uint64_t>(i), set.rules);
  });
  return images;
}

template <class F>
void for_each_image(F&& f) {
  for (const Set& set : sets()) {
    CAPTURE(set.name);
    for (const PathfinderImage& image : draw(set)) f(image, set.rules);
  }
}

std::vector<Contour> contours(const PathfinderImage& image) {
  std::vector<Contour> all(image.targets.begin(), image.targets.end());
  all.insert(all.end(), image.distractors.begin(), image.distractors.end());
  return all;
}

bool same(Point a, Point b) {
  return length(a - b) < 1e-9;
}

// A contour of straight paddles from `from` to the right, or downwards.
Contour straight(Point from, Point forward, Index paddles, const PathfinderRules& rules) {
  const double margin = rules.margins.front();
  Contour contour;
  for (Index i = 0; i < paddles; ++i) {
    const Point pivot = from + static_cast<double>(i) * (rules.paddle_length + 2 * margin) * forward;
    contour.push_back({pivot, pivot + margin * forward, pivot + (margin + rules.paddle_length) * forward, forward});
  }
  return contour;
}

// The brightest pixel around the middles of a contour's paddles, on average.
double brightness(const PathfinderImage& image, const Contour& contour, Index side) {
  double sum = 0;
  for (const Paddle& paddle : contour) {
    const Point middle = 0.5 * (paddle.tail + paddle.head);
    int brightest = 0;
    for_pixels_near(side, middle, middle, 0.5, [&](Index x, Index y) {
      brightest = std::max<int>(brightest, image.pixels[static_cast<std::size_t>(y * side + x)]);
    });
    sum += brightest;
  }
  return sum / static_cast<double>(contour.size());
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("pathfinder: a bar, its halo and a disc cover what they should of a pixel") {
  const Bar bar = {.tail = {2, 5}, .forward = {1, 0}, .length = 3, .thickness = 0.5};
  CHECK_EQ(bar.coverage({3, 5}), doctest::Approx(0.5));   // all along, half across
  CHECK_EQ(bar.coverage({2, 5}), doctest::Approx(0.25));  // half of both
  CHECK_EQ(bar.coverage({3, 5.5}), doctest::Approx(0.25));
  CHECK_EQ(bar.coverage({3, 6}), 0);
  CHECK_EQ(bar.coverage({1, 5}), 0);
  CHECK_EQ(bar.halo({3, 5}, 1), 1);
  CHECK_EQ(bar.halo({6, 5}, 1), doctest::Approx(0.5));  // its centre stands on the border of the halo
  CHECK_EQ(bar.halo({3, 6.25}, 1), doctest::Approx(0.5));
  CHECK_EQ(bar.halo({7, 5}, 1), 0);
  CHECK_EQ(disc_coverage({4, 4}, {4, 4}, 1.5), 1);
  CHECK_EQ(disc_coverage({4, 5.5}, {4, 4}, 1.5), doctest::Approx(0.5));
  CHECK_EQ(disc_coverage({4, 6}, {4, 4}, 1.5), 0);
}

TEST_CASE("pathfinder: contours have the lengths, gaps and turns of their level") {
  const auto hard = pathfinder_rules(PathfinderLevel::hard);
  CHECK_EQ(hard.contour_length, 14);
  CHECK_EQ(hard.distractor_length, 4);
  CHECK_EQ(hard.distractors, 5);
  CHECK_EQ(pathfinder_rules(PathfinderLevel::easy).distractors, 10);
  CHECK_EQ(pathfinder_rules(PathfinderLevel::intermediate).distractors, 6);
  CHECK_EQ(path_x_rules(PathfinderLevel::hard).distractors, 8);
  for_each_image([](const PathfinderImage& image, const PathfinderRules& rules) {
    for (const Contour& target : image.targets)
      REQUIRE_EQ(target.size(), static_cast<std::size_t>(rules.contour_length));
    CHECK_LE(image.distractors.size(), static_cast<std::size_t>(rules.distractors));
    for (const Contour& distractor : image.distractors)
      REQUIRE_EQ(distractor.size(), static_cast<std::size_t>(rules.distractor_length));
    CHECK_NE(std::find(rules.margins.begin(), rules.margins.end(), image.margin), rules.margins.end());
    CHECK_EQ(length(image.targets[0].front().tail - image.targets[1].front().tail),
             doctest::Approx(rules.seed_distance));
    const double step = rules.paddle_length + 2 * image.margin;
    for (const Contour& contour : contours(image)) {
      for (std::size_t i = 0; i < contour.size(); ++i) {
        CHECK_EQ(length(contour[i].forward), doctest::Approx(1));
        CHECK(same(contour[i].tail, contour[i].pivot + image.margin * contour[i].forward));
        CHECK(same(contour[i].head, contour[i].tail + rules.paddle_length * contour[i].forward));
        if (i == 0) continue;
        CHECK(same(contour[i].pivot, contour[i - 1].pivot + step * contour[i - 1].forward));
        const double turn = std::acos(std::min(1.0, dot(contour[i].forward, contour[i - 1].forward)));
        CHECK_LT(rules.continuity * turn, std::numbers::pi / 2);
      }
    }
  });
}

TEST_CASE("pathfinder: nothing lies outside the image, and halos hardly overlap") {
  for_each_image([](const PathfinderImage& image, const PathfinderRules& rules) {
    const Index last = rules.side - 1;
    std::vector<Bar> bars;
    for (const Contour& contour : contours(image)) {
      for (const Paddle& paddle : contour) {
        bars.push_back({paddle.tail, paddle.forward, rules.paddle_length, rules.thickness});
        for (const Point p : {paddle.tail, paddle.head}) {
          CHECK_GE(std::min(p.x, p.y), rules.thickness / 2);
          CHECK_LE(std::max(p.x, p.y), static_cast<double>(last) - rules.thickness / 2);
        }
      }
    }
    double most = 0;
    for (Index y = 0; y <= last; ++y) {
      for (Index x = 0; x <= last; ++x) {
        double first = std::min({x, y, last - x, last - y}) < 1 ? 1 : 0, second = 0;  // the largest of this pixel
        for (const Bar& bar : bars) {
          const double halo = bar.halo({static_cast<double>(x), static_cast<double>(y)}, image.margin);
          second = std::max(second, std::min(first, halo));
          first = std::max(first, halo);
        }
        most = std::max(most, first + second);
      }
    }
    CHECK_LT(most, 1.8 + 1e-6);
  });
}

TEST_CASE("pathfinder: markers stand at the ends that the label says") {
  Index origin_of_second = 0;
  for_each_image([&](const PathfinderImage& image, const PathfinderRules& rules) {
    const bool second = same(image.markers[0], image.targets[1].front().tail);
    origin_of_second += second ? 1 : 0;
    const auto of = static_cast<std::size_t>(second);
    CHECK(same(image.markers[0], image.targets[of].front().tail));
    CHECK(same(image.markers[1], image.targets[image.label == 1 ? of : 1 - of].back().head));
    for (const Point marker : image.markers) {
      const Index x = std::llround(marker.x), y = std::llround(marker.y);
      CHECK_EQ(image.pixels[static_cast<std::size_t>(y * rules.side + x)], 255);
    }
  });
  CHECK_GT(origin_of_second, 50);
  CHECK_LT(origin_of_second, 150);
}

TEST_CASE("pathfinder: the label is a fair coin") {
  const PathfinderRules rules = pathfinder_rules(PathfinderLevel::easy);
  Index ones = 0;
  for (std::uint64_t i = 0; i < 400; ++i) ones += draw_pathfinder(3, i, rules).label;
  CHECK_GT(ones, 160);  // four standard deviations
  CHECK_LT(ones, 240);
}

TEST_CASE("pathfinder: an image is a function of rules, seed and number") {
  const Set set = {"", pathfinder_rules(PathfinderLevel::intermediate), 40};
  const std::vector<PathfinderImage> images = draw(set);  // by several threads
  for (std::size_t i = 0; i < images.size(); ++i) {
    const PathfinderImage again = draw_pathfinder(1, i, set.rules);
    CHECK(again.pixels == images[i].pixels);
    CHECK_EQ(again.label, images[i].label);
    CHECK(draw_pathfinder(2, i, set.rules).pixels != images[i].pixels);
    if (i > 0) CHECK(images[i].pixels != images[i - 1].pixels);
  }
}

TEST_CASE("pathfinder: the oracle agrees with every label, and with no other") {
  for_each_image([](PathfinderImage image, const PathfinderRules& rules) {
    CHECK(oracle_agrees(image, rules));
    image.label = 1 - image.label;
    CHECK_FALSE(oracle_agrees(image, rules));
  });
}

TEST_CASE("pathfinder: the oracle sees gaps as closed, and where contours meet") {
  PathfinderRules rules = pathfinder_rules(PathfinderLevel::easy);
  PathfinderImage image;
  image.targets = {straight({3, 10}, {1, 0}, 5, rules), straight({3, 20}, {1, 0}, 5, rules)};
  image.markers = {image.targets[0].front().tail, image.targets[1].back().head};
  CHECK(oracle_agrees(image, rules));
  const UndashedImage apart(image, rules);
  CHECK(apart.connected(image.targets[0].front().tail, image.targets[0].back().head));
  CHECK(apart.connected(image.targets[0].back().head, image.targets[0].front().tail));
  CHECK_FALSE(apart.connected(image.markers[0], image.markers[1]));
  CHECK_FALSE(apart.connected({3, 15}, image.markers[0]));  // no contour is there

  image.distractors = {straight({13, 5}, {0, 1}, 4, rules)};  // crosses both, the first one in a gap
  CHECK_FALSE(oracle_agrees(image, rules));
  CHECK(UndashedImage(image, rules).connected(image.markers[0], image.markers[1]));

  image.distractors.clear();
  image.label = 1;  // with the wrong ends
  CHECK_FALSE(oracle_agrees(image, rules));
  image.markers[1] = image.targets[0].back().head;
  CHECK(oracle_agrees(image, rules));
  image.targets[0].erase(image.targets[0].begin() + 2);
  image.targets[0][2].pivot = image.targets[0][2].tail;  // a gap that no pivot closes is closed all the same
  CHECK(oracle_agrees(image, rules));
}

TEST_CASE("pathfinder: contours are equally bright unless asked otherwise") {
  const auto ratio = [](bool equal_contrast) {
    PathfinderRules rules = pathfinder_rules(PathfinderLevel::easy);
    rules.equal_contrast = equal_contrast;
    double targets = 0, distractors = 0;
    Index count = 0;
    for (std::uint64_t i = 0; i < 100; ++i) {
      const PathfinderImage image = draw_pathfinder(1, i, rules);
      for (const Contour& contour : image.targets) {  // but for the paddles that markers hide
        const Contour inner(contour.begin() + 1, contour.end() - 1);
        targets += brightness(image, inner, rules.side) / 2;
      }
      for (const Contour& contour : image.distractors) {
        distractors += brightness(image, contour, rules.side);
        ++count;
      }
    }
    return (distractors / static_cast<double>(count)) / (targets / 100);
  };
  CHECK_EQ(ratio(true), doctest::Approx(1).epsilon(0.05));
  CHECK_EQ(ratio(false), doctest::Approx(2 / 1.5).epsilon(0.05));
}

TEST_CASE("pathfinder: rules that cannot be met are an error") {
  PathfinderRules rules = pathfinder_rules(PathfinderLevel::hard);
  rules.side = 28;
  CHECK_THROWS_WITH_AS(draw_pathfinder(1, 0, rules),
                       "pathfinder: a side of 28 leaves no place 2 * 7 pixels from every border", Error);
  rules.side = 29;
  rules.paddle_length = 40;
  CHECK_THROWS_WITH_AS(draw_pathfinder(1, 0, rules),
                       "pathfinder: no image of contours of 14 paddles on 29 x 29 pixels came up", Error);
  CHECK_THROWS_WITH_AS(parse_pathfinder_level("easier"), "difficulty: 'easier', expected easy, intermediate or hard",
                       Error);
  for (const PathfinderLevel level : kPathfinderLevels)
    CHECK(parse_pathfinder_level(pathfinder_level_name(level)) == level);
}

TEST_SUITE_END();
