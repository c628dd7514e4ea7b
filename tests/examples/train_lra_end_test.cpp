// How a run of train_lra ends, and what it keeps: early stop, the newest checkpoints, kill -9 at any moment.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>

#include "subquad/core/error.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::Subprocess;

namespace fs = std::filesystem;

namespace {

// Steps of the numbered checkpoints, in order.
std::vector<Index> kept(const fs::path& run) {
  std::vector<Index> steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(run / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.ends_with(".safetensors")) steps.push_back(std::stoll(name.substr(5)));
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<Index> steps_of(const fs::path& run, const std::string& kind) {
  std::vector<Index> steps;
  for (const nlohmann::json& record : records(run))
    if (record.at("kind") == kind) steps.push_back(record.at("step"));
  return steps;
}

std::string checkpoint_name(Index step) {
  const std::string digits = cat(step);
  return cat("step-", std::string(6 - digits.size(), '0'), digits, ".safetensors");
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("train_lra: the newest checkpoints stay, as many as are asked for, and the best") {
  const Bench bench;
  const Args more = {"--steps", "50", "--checkpoint-every", "10", "--evaluate-every", "10"};
  REQUIRE_EQ(train(bench.args("two", more)).status, 0);
  CHECK_EQ(kept(bench.run("two")), std::vector<Index>{40, 50});
  Args four = more;
  four.insert(four.end(), {"--keep", "4"});
  REQUIRE_EQ(train(bench.args("four", four)).status, 0);
  CHECK_EQ(kept(bench.run("four")), std::vector<Index>{20, 30, 40, 50});
  CHECK(fs::exists(fs::path(bench.run("four")) / "checkpoints" / "best.safetensors"));
  check_same_run(bench.run("two"), bench.run("four"), "step-000050.safetensors");
  check_fails(bench.args("none", {"--keep", "0"}), 2, "--keep: 0, expected a whole number between 1 and ");
}

TEST_CASE("train_lra: patience ends a run, which says so and is tested") {
  const Bench bench;
  const fs::path run = bench.run("run");
  // Nothing is learnt, so no validation is better than the first.
  const Finished finished = train(bench.args("run", {"--learning-rate", "0", "--patience", "3", "--evaluate-every",
                                                     "10", "--steps", "1000", "--log-every", "7"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const std::string said =
      "ended early at step 40 of 1000: 3 validations in a row found no better accuracy than that at step 10";
  CHECK_NE(finished.err.find(said), std::string::npos);
  CHECK_NE(finished.out.find(said), std::string::npos);
  CHECK_NE(finished.err.find("2 of 3 without a better one"), std::string::npos);
  CHECK_NE(finished.out.find("best (step 10)"), std::string::npos);
  CHECK_NE(finished.out.find("last (step 40)"), std::string::npos);
  CHECK_EQ(steps_of(run, "validation"), std::vector<Index>{10, 20, 30, 40});
  CHECK_EQ(steps_of(run, "train"), std::vector<Index>{7, 10, 14, 20, 21, 28, 30, 35, 40});
  CHECK_EQ(steps_of(run, "early_stop"), std::vector<Index>{40});
  CHECK_EQ(kept(run).back(), 40);

  const std::string before = read_text(run / "metrics.jsonl");
  const Finished again = train({"--resume", run.string()});
  CAPTURE(again.err);
  CHECK_EQ(again.status, 0);
  CHECK_NE(again.out.find(said), std::string::npos);
  CHECK_EQ(read_text(run / "metrics.jsonl"), before);

  REQUIRE_EQ(train(bench.args("patient",
                              {"--learning-rate", "0", "--patience", "4", "--evaluate-every", "10", "--steps", "40"}))
                 .status,
             0);
  CHECK(steps_of(bench.run("patient"), "early_stop").empty());
}

TEST_CASE("train_lra: a better validation gives back all patience") {
  const Bench bench;
  const fs::path run = bench.run("run");
  REQUIRE_EQ(train(bench.args("run", {"--patience", "4", "--evaluate-every", "20", "--steps", "2000"})).status, 0);
  Index stale = 0, ended = 0;
  double best = -1;
  for (const nlohmann::json& record : records(run)) {
    if (record.at("kind") != "validation") continue;
    CHECK_LT(stale, 4);  // else the run has gone on too long
    const double accuracy = record.at("accuracy");
    stale = accuracy > best ? 0 : stale + 1;
    best = std::max(best, accuracy);
    ended = record.at("step");
  }
  CHECK_EQ(stale, 4);
  CHECK_GT(ended, 100);  // it did get better
  CHECK_EQ(steps_of(run, "early_stop"), std::vector<Index>{ended});
}

TEST_CASE("train_lra: killed again and again, with accumulation and patience, and resumed equals uninterrupted") {
  const Bench bench;
  const Args more = {"--patience",         "8", "--evaluate-every", "3", "--steps", "2000", "--accumulate", "3",
                     "--checkpoint-every", "2", "--log-every",      "1", "--keep",  "3",    "--dropout",    "0.1"};
  REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
  const std::vector<Index> end = steps_of(bench.run("whole"), "early_stop");
  REQUIRE_EQ(end.size(), 1);

  const fs::path run = bench.run("killed");
  Args args = bench.args("killed", more);
  for (Index step = 4; step < end.front(); step += 7) {
    Subprocess process(program(), args);
    wait_for_step(run, step);
    process.signal(SIGKILL);
    process.wait();
    const std::vector<Index> trained = steps_of(run, "train");
    REQUIRE_FALSE(kept(run).empty());
    CHECK_GE(kept(run).back() + 2, trained.back());  // nothing before the last checkpoint is lost
    args = {"--resume", run.string()};
  }
  const Finished finished = train(args);
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  check_same_run(bench.run("whole"), run, checkpoint_name(end.front()));
}

TEST_SUITE_END();
