// train_lra with several seeds: the runs that it leaves are those of one seed each; stopped and resumed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>

#include "subquad/core/error.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::Subprocess;

namespace fs = std::filesystem;

namespace {

const Args kShort = {"--steps", "20", "--evaluate-every", "10", "--checkpoint-every", "5"};

Args with_seeds(const Bench& bench, const std::string& name, const std::string& seeds, Args more = kShort) {
  more.insert(more.end(), {"--seeds", seeds});
  return bench.args(name, more);
}

Index sessions(const fs::path& run) {
  const std::string text = read_text(run / "timing.jsonl");
  const std::string kind = "\"kind\":\"session\"";
  Index count = 0;
  for (std::size_t at = text.find(kind); at != std::string::npos; at = text.find(kind, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("train_lra: several seeds leave the runs of each seed, and a table with mean and deviation") {
  const Bench bench;
  const Finished finished = train(with_seeds(bench, "all", "3,1,12"));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const fs::path all = bench.run("all");
  for (const std::string seed : {"3", "1", "12"}) {
    CAPTURE(seed);
    Args one = kShort;
    one.insert(one.end(), {"--seed", seed});
    REQUIRE_EQ(train(bench.args("one-" + seed, one)).status, 0);
    check_same_run(bench.run("one-" + seed), all / ("seed-" + seed), "step-000020.safetensors");
  }

  const nlohmann::json summary = nlohmann::json::parse(read_text(all / "seeds.json"));
  REQUIRE_EQ(summary.at("runs").size(), 3);
  CHECK_EQ(summary.at("runs")[2].at("seed"), 12);
  CHECK_EQ(summary.at("runs")[2].at("folder"), "seed-12");
  for (const std::string which : {"best", "last"}) {
    for (const std::string set : {"validation", "test"}) {
      CAPTURE(which);
      CAPTURE(set);
      double sum = 0, squares = 0;
      for (const nlohmann::json& run : summary.at("runs")) sum += run.at(which).at(set).get<double>();
      for (const nlohmann::json& run : summary.at("runs"))
        squares += std::pow(run.at(which).at(set).get<double>() - sum / 3, 2);
      const nlohmann::json& spread = summary.at(which).at(set);
      CHECK_EQ(spread.at("n"), 3);
      CHECK_LT(std::fabs(spread.at("mean").get<double>() - sum / 3), 1e-12);
      CHECK_LT(std::fabs(spread.at("sd").get<double>() - std::sqrt(squares / 2)), 1e-12);
    }
  }
  for (const char* text : {"mean ± sd, n = 3", "seed 12 ", "chance", "best step", "last step"}) {
    CAPTURE(text);
    CHECK_NE(finished.out.find(text), std::string::npos);
  }

  // Each is a run of its own, and compare_runs takes them together or one by one.
  CHECK_EQ(train({"--resume", (all / "seed-12").string()}).status, 0);
  const Finished table = subquad::test::run_program("compare_runs", {all.string()});
  CAPTURE(table.err);
  CHECK_EQ(table.status, 0);
  CHECK_NE(table.out.find("mean ± sd over seeds"), std::string::npos);
  Args folders;
  for (const char* seed : {"seed-1", "seed-3", "seed-12"}) folders.push_back((all / seed).string());
  CHECK_EQ(subquad::test::run_program("compare_runs", folders).out, table.out);
}

TEST_CASE("train_lra: several seeds stopped and resumed go on where they were, and none is run again") {
  const Bench bench;
  REQUIRE_EQ(train(with_seeds(bench, "whole", "1,2")).status, 0);
  const auto check_same = [&](const std::string& name) {
    for (const char* seed : {"seed-1", "seed-2"})
      check_same_run(fs::path(bench.run("whole")) / seed, fs::path(bench.run(name)) / seed, "step-000020.safetensors");
    CHECK_EQ(read_text(fs::path(bench.run("whole")) / "seeds.json"),
             read_text(fs::path(bench.run(name)) / "seeds.json"));
  };

  // At the time limit, which is one for all.
  Args limited = with_seeds(bench, "limited", "1,2");
  limited.insert(limited.end(), {"--max-minutes", "0.0000001"});
  const Finished stopped = train(limited);
  CHECK_EQ(stopped.status, 0);
  CHECK_NE(stopped.err.find("stopped before seed 1; go on with: train_lra --resume " + bench.run("limited")),
           std::string::npos);
  const Finished resumed = train({"--resume", bench.run("limited"), "--max-minutes", "0"});
  CAPTURE(resumed.err);
  REQUIRE_EQ(resumed.status, 0);
  check_same("limited");

  // Within the second run, by each signal.
  for (const int signal : {SIGTERM, SIGKILL}) {
    const std::string name = cat("signal-", signal);
    CAPTURE(name);
    const fs::path all = bench.run(name);
    Subprocess first(program(), with_seeds(bench, name, "1,2"));
    wait_for_step(all / "seed-2", 7);
    first.signal(signal);
    first.wait();
    CHECK_EQ(sessions(all / "seed-1"), 1);
    const Finished after = train({"--resume", all.string()});
    CAPTURE(after.err);
    REQUIRE_EQ(after.status, 0);
    CHECK_EQ(sessions(all / "seed-1"), 1);
    CHECK_NE(after.err.find("seed 1 is through"), std::string::npos);
    CHECK_NE(after.out.find("mean ± sd, n = 2"), std::string::npos);
    check_same(name);
  }

  // All through: only the table. A folder that was being made is made again.
  const Finished again = train({"--resume", bench.run("limited"), "--max-minutes", "0"});
  CHECK_EQ(again.status, 0);
  CHECK_NE(again.out.find("mean ± sd, n = 2"), std::string::npos);
  check_same("limited");
  fs::remove_all(fs::path(bench.run("limited")) / "seed-2");
  fs::create_directories(fs::path(bench.run("limited")) / "seed-2" / "checkpoints");
  REQUIRE_EQ(train({"--resume", bench.run("limited"), "--max-minutes", "0"}).status, 0);
  check_same("limited");
}

TEST_CASE("train_lra: one seed in a list has no deviation; lists that cannot be are refused") {
  const Bench bench;
  const Finished finished = train(with_seeds(bench, "one", "5"));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  CHECK_EQ(finished.out.find("±"), std::string::npos);
  CHECK(fs::exists(fs::path(bench.run("one")) / "seed-5" / "checkpoints" / "best.safetensors"));
  check_fails(with_seeds(bench, "one", "5"), 1, "exists and is not overwritten; give another folder, or go on with it");
  check_fails(with_seeds(bench, "run", "1,2,1"), 2, "--seeds: seed 1 comes twice");
  check_fails(with_seeds(bench, "run", "1,,2"), 2, "--seeds: '1,,2' has an empty item, expected whole numbers");
  check_fails(with_seeds(bench, "run", "1,x"), 2, "--seeds: x, expected a whole number between 0 and ");
  check_fails(with_seeds(bench, "run", "1,2", {"--seed", "3"}), 2,
              "--seed 3 does not go with --seeds, which says the seed of each run");
  check_fails({"--resume", bench.run("one"), "--seeds", "5,6"}, 2, "--seeds cannot be given with --resume");
  CHECK_FALSE(fs::exists(bench.run("run")));
  fs::remove(fs::path(bench.data) / "basic_test.tsv");
  std::ofstream(fs::path(bench.data) / "basic_test.tsv") << "Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n";
  check_fails({"--resume", bench.run("one")}, 1, "that run saw other data (hash ");
}

TEST_SUITE_END();
