#include "subquad/examples/adding_problem/problems.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "subquad/core/error.h"
#include "subquad/examples/adding_problem/learner.h"
#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/subprocess.h"

using namespace subquad;
using namespace subquad::adding_problem;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("adding problem: two marked values make the target") {
  for (const Index length : {2, 3, 128}) {
    const Items items = Source{.length = length}.items(Set::train, 5, 200);
    std::set<Index> places;
    for (Index i = 0; i < 200; ++i) {
      double marked = 0, total = 0;
      for (Index t = 0; t < length; ++t) {
        const double x = test::at(items.inputs, {i, t, 0}), y = test::at(items.inputs, {i, t, 1});
        CHECK_GE(x, -1);
        CHECK_LE(x, 1);
        CHECK((y == 0 || y == 1));
        if (y == 1) places.insert(t);
        marked += y;
        total += x * y;
      }
      CHECK_EQ(marked, 2);
      CHECK_EQ(test::at(items.targets, {i, 0}), doctest::Approx(0.5 + total / 4).epsilon(1e-6));
    }
    CHECK_GE(static_cast<Index>(places.size()), std::min<Index>(length, 100));
  }
}

TEST_CASE("order problem: the label is the order of the two rare symbols") {
  const Items items = Source{.problem = Problem::order, .length = 40}.items(Set::test, 0, 400);
  std::set<std::int64_t> labels;
  for (Index i = 0; i < 400; ++i) {
    std::vector<std::int64_t> rare;
    for (Index t = 0; t < 40; ++t) {
      const auto symbol = static_cast<std::int64_t>(test::at(items.inputs, {i, t}));
      CHECK((symbol >= 0 && symbol < kSymbols));
      if (symbol >= 4) rare.push_back(symbol - 4);
    }
    REQUIRE_EQ(rare.size(), 2);
    const std::int64_t label = items.targets.data<std::int64_t>()[i];
    CHECK_EQ(label, 2 * rare[0] + rare[1]);
    labels.insert(label);
  }
  CHECK_EQ(labels.size(), 4);
}

TEST_CASE("adding problem: a loss near that of always answering 1/2 is the plateau") {
  for (const double loss : {0.038, kPlateauLoss, 0.045}) CHECK(on_plateau(loss));
  for (const double loss : {0.0, 0.037, 0.046, 0.21, std::nan("")}) CHECK_FALSE(on_plateau(loss));
}

TEST_CASE("adding problem: an item depends on seed, set and number alone") {
  const Source source{.length = 16};
  const Items all = source.items(Set::train, 0, 8);
  CHECK(test::same_bits(source.items(Set::train, 3, 2).inputs, all.inputs.slice(0, 3, 5)));
  CHECK_FALSE(test::same_bits(source.items(Set::test, 0, 8).inputs, all.inputs));
  CHECK_FALSE(test::same_bits((Source{.length = 16, .seed = 2}).items(Set::train, 0, 8).inputs, all.inputs));
  CHECK_THROWS_WITH_AS((Source{.length = 1}).items(Set::train, 0, 1),
                       "adding_problem: length is 1, expected at least 2", Error);
}

TEST_CASE("adding problem: wrong options, and a short run of the program") {
  const auto fails = [](const std::vector<std::string>& args, const std::string& text) {
    const test::Finished finished = test::run_program("adding_problem", args);
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 2);
    CHECK_NE(finished.err.find(text), std::string::npos);
  };
  fails({"--task", "copy"}, "--task: 'copy', expected one of adding, order");
  fails({"--length", "1"}, "--length: 1, expected a whole number between 2 and");
  fails({"--train-items", "41"}, "--train-items 41 does not divide by --batch-size 40");
  fails({"--schedule", "one_cycle"}, "--schedule one_cycle moves beta1");
  fails({"--landmarks", "9"}, "--landmarks 9 belongs to --attention nystrom; this is paramixer");
  fails({"--attention", "softmax", "--heads", "3"}, "--width 32 does not divide by --heads 3");
  const test::Finished narrow = test::run_program(
      "adding_problem",
      {"--attention", "softmax", "--heads", "3", "--head-width", "5", "--length", "8", "--steps", "1"});
  CAPTURE(narrow.err);
  CHECK_EQ(narrow.status, 0);
  const test::Finished factors =
      test::run_program("adding_problem", {"--factors", "2", "--length", "8", "--steps", "1"});
  CAPTURE(factors.err);
  CHECK_EQ(factors.status, 0);
  for (const char* attention : {"softmax", "fsat"}) {
    CAPTURE(attention);
    const test::Finished diverged = test::run_program(
        "adding_problem",
        {"--attention", attention, "--learning-rate", "1e20", "--warmup", "0", "--length", "32", "--steps", "9"});
    CAPTURE(diverged.err);
    CHECK_EQ(diverged.status, 1);
    CHECK_EQ(diverged.err.find("adding_problem: step "), 0);
    CHECK_NE(diverged.err.find("; a lower --learning-rate may help\n"), std::string::npos);
  }
  for (const char* task : {"adding", "order"}) {
    const test::Finished run = test::run_program("adding_problem", {"--task", task, "--length", "16", "--steps", "4",
                                                                    "--evaluate-every", "3", "--test-items", "50"});
    CAPTURE(run.err);
    CHECK_EQ(run.status, 0);
    CHECK_NE(run.out.find("final error "), std::string::npos);
  }
}

TEST_SUITE_END();
