#include "subquad/examples/lra/averages.h"

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/run_table.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

RunSummary run_of(const std::string& task, double test, std::uint64_t seed = 1) {
  RunSummary run;
  run.folder = cat("runs/", task, '-', seed);
  run.attention = "softmax";
  run.model = "encoder";
  run.task = task;
  run.data_hash = task + " data";
  run.seed = seed;
  run.settings = "steps=5\n";
  run.validation = test + 0.1;
  run.test = test;
  return run;
}

const std::vector<double> kCells = {0.3637, 0.6427, 0.5746, 0.4244, 0.7140};  // softmax in table 1 of LRA's paper

std::vector<RunSummary> five_tasks() {
  const char* const names[] = {"listops", "text", "retrieval", "image", "pathfinder, hard"};
  std::vector<RunSummary> runs;
  for (std::size_t i = 0; i < 5; ++i) runs.push_back(run_of(names[i], kCells[i]));
  return runs;
}

std::string averages(const std::vector<RunSummary>& runs) {
  std::ostringstream out;
  print_task_averages(runs, out);
  return out.str();
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("spread: mean and the sample's deviation") {
  const std::vector<double> values = {0.1, 0.2, 0.3, 0.6};
  const Spread four = spread(values);
  CHECK_EQ(four.count, 4);
  CHECK_LT(std::fabs(four.mean - 0.3), 1e-15);
  CHECK_LT(std::fabs(four.deviation.value() - std::sqrt(0.14 / 3)), 1e-15);
  CHECK_EQ(spread_text(four), "0.3000 ± 0.2160");
  CHECK_FALSE(spread(std::span(values).first(1)).deviation.has_value());
  CHECK_EQ(spread_text(spread(std::span(values).first(1))), "0.1000");
  CHECK_EQ(spread_text(spread({})), "-");
  CHECK_EQ(padded("a ± b", 7) + "|", "a ± b  |");
  CHECK_EQ(padded("a ± b", 7, true), "  a ± b");
  CHECK_EQ(padded("long", 2), "long");
}

TEST_CASE("averages: means over seeds of runs with the same settings") {
  std::vector<RunSummary> runs = {run_of("listops", 0.3, 1), run_of("listops", 0.5, 2), run_of("listops", 0.3, 1)};
  RunSummary other = run_of("listops", 0.9, 3);
  other.settings = "steps=6\n";
  runs.push_back(other);
  CHECK_EQ(by_settings(runs).size(), 2);
  std::ostringstream out;
  print_seed_means(runs, out);
  CHECK_EQ(out.str(),
           "  mean ± sd over seeds                seeds        validation              test\n"
           "  softmax encoder                         2   0.5000 ± 0.1414   0.4000 ± 0.1414\n");
  runs[1].test.reset();
  std::ostringstream one;
  print_seed_means(runs, one);
  CHECK_EQ(one.str(), "");
  runs.push_back(run_of("listops", 0.5, 4));
  std::ostringstream partly;
  print_seed_means(runs, partly);
  CHECK(says(partly.str(), "2   0.5000 ± 0.1414   0.4000 ± 0.1414\n"));
  CHECK(says(partly.str(), "  runs of it that are not finished and not in the mean: 1\n"));
  std::ostringstream nothing;
  print_seed_means({runs[0], other}, nothing);
  CHECK_EQ(nothing.str(), "");
}

TEST_CASE("averages: both of the literature, each by its name") {
  const std::string five = averages(five_tasks());
  CAPTURE(five);
  CHECK(says(five, "mean of the five tasks without Path-X (LRA)                   0.5439\n"));
  CHECK(says(five, "mean of six, the missing Path-X counted as 50 % (S4)          0.5366\n"));

  std::vector<RunSummary> six = five_tasks();
  six.push_back(run_of("path-x, hard", 0.8806));
  six.push_back(run_of("path-x, hard", 0.7806, 2));  // a cell is the mean over its seeds
  const std::string whole = averages(six);
  CAPTURE(whole);
  CHECK(says(whole, "(LRA)                   0.5439\n"));
  CHECK(says(whole, "0.5917\n"));
  CHECK_FALSE(says(whole, "the missing Path-X"));
}

TEST_CASE("averages: what is missing is said in place of a number") {
  std::vector<RunSummary> runs = five_tasks();
  runs.erase(runs.begin() + 2);
  CHECK(says(averages(runs), "- : missing retrieval\n"));
  runs.push_back(run_of("imdb-pairs", 0.9));  // no task of LRA's
  CHECK(says(averages(runs), "- : missing retrieval\n"));
  runs.back() = run_of("pathfinder, easy", 0.9);  // nor is this level
  runs[3] = run_of("path-x, easy", 0.9);
  CHECK(says(averages(runs), "- : missing retrieval, pathfinder\n"));
  CHECK(says(averages(runs), "the missing Path-X counted as 50 % (S4)"));
  runs[3] = run_of("pathfinder, hard", 0.7);
  runs[0].test.reset();
  CHECK(says(averages(runs), "- : missing listops (not tested yet), retrieval\n"));
  runs = five_tasks();
  runs.push_back(run_of("image", 0.5, 2));
  runs.back().settings = "steps=7\n";
  CHECK(says(averages(runs), "- : missing image (runs of several settings)\n"));
  RunSummary other = run_of("text", 0.7);
  other.attention = "nystrom";
  runs.push_back(other);
  CHECK(says(averages(runs),
             "  nystrom encoder\n    mean of the five tasks without Path-X (LRA)                   - : "
             "missing listops, retrieval, image, pathfinder\n"));
}

TEST_CASE("averages: a table for each task, and other data of the same task are refused") {
  std::vector<RunSummary> runs = five_tasks();
  std::ostringstream out;
  print_run_tables(runs, out);
  for (const char* text : {"listops\n  attention ", "pathfinder, hard\n  attention ", "averages of test accuracy over tasks"})
    CHECK(says(out.str(), text));
  std::ostringstream one;
  print_run_tables({runs[0]}, one);
  CHECK_FALSE(says(one.str(), "listops"));
  CHECK_FALSE(says(one.str(), "averages"));
  runs.push_back(run_of("text", 0.5, 2));
  runs.back().data_hash = "other";
  CHECK_THROWS_WITH_AS(print_run_tables(runs, out), doctest::Contains("saw different data: hash text data and other"),
                       Error);
}

TEST_SUITE_END();
