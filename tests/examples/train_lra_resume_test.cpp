// train_lra interrupted, killed or at its limit, and resumed: the same run; what cannot be resumed is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "subquad/core/error.h"
#include "subquad/core/safetensors.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/device.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::Subprocess;

namespace fs = std::filesystem;

TEST_SUITE("cuda") {
  TEST_CASE("train_lra: killed on a device and resumed equals uninterrupted, byte for byte") {
    const Bench bench;
    const Index unit = subquad::test::interpreted() ? 2 : 200;  // enough of them that the kill comes in time
    const Args more = {"--device",    "cuda",    "--cuda-graph",     "--steps",     cat(8 * unit),
                       "--log-every", cat(unit), "--evaluate-every", cat(4 * unit), "--checkpoint-every",
                       cat(2 * unit)};
    REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
    Subprocess first(program(), bench.args("killed", more));
    wait_for_step(bench.run("killed"), 3 * unit);
    first.signal(SIGKILL);
    first.wait();
    REQUIRE_EQ(train({"--resume", bench.run("killed")}).status, 0);
    check_same_run(bench.run("whole"), bench.run("killed"),
                   subquad::test::interpreted() ? "step-000016.safetensors" : "step-001600.safetensors");
  }
}

TEST_SUITE_BEGIN("cpu");

TEST_CASE("train_lra: interrupted and resumed equals uninterrupted, byte for byte") {
  const Bench bench;
  const Args more = {"--steps", "1000", "--log-every", "7", "--evaluate-every", "100", "--checkpoint-every", "60"};
  REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
  struct Case {
    const char* name;
    int signal;
    int status;
    Index step;
  };
  for (const Case& c : {Case{"terminated", SIGTERM, 143, 20}, Case{"interrupted", SIGINT, 130, 100},
                        Case{"killed", SIGKILL, 137, 80}, Case{"killed-early", SIGKILL, 137, 7}}) {
    CAPTURE(c.name);
    Subprocess first(program(), bench.args(c.name, more));
    wait_for_step(bench.run(c.name), c.step);
    first.signal(c.signal);
    const Finished stopped = first.wait();
    CAPTURE(stopped.err);
    CHECK_EQ(stopped.status, c.status);
    if (c.signal != SIGKILL) CHECK_NE(stopped.err.find("--resume"), std::string::npos);
    const Finished resumed = train({"--resume", bench.run(c.name)});
    CAPTURE(resumed.err);
    REQUIRE_EQ(resumed.status, 0);
    check_same_run(bench.run("whole"), bench.run(c.name), "step-001000.safetensors");
  }
}

TEST_CASE("train_lra: stopped while validating, as most of this run's time is, and resumed equals uninterrupted") {
  const Bench bench;
  const Args more = {"--steps", "300", "--evaluate-every", "1", "--checkpoint-every", "100", "--batch-size", "2"};
  REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
  Subprocess first(program(), bench.args("stopped", more));
  wait_for_step(bench.run("stopped"), 20);
  first.signal(SIGTERM);
  REQUIRE_EQ(first.wait().status, 143);
  REQUIRE_EQ(train({"--resume", bench.run("stopped")}).status, 0);
  check_same_run(bench.run("whole"), bench.run("stopped"), "step-000300.safetensors");
}

TEST_CASE("train_lra: a run at its time limit saves, ends well and can be resumed; a complete one tests again") {
  const Bench bench;
  const Args more = {"--steps", "30", "--evaluate-every", "10"};
  REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
  Args limited = bench.args("limited", more);
  limited.insert(limited.end(), {"--max-minutes", "0.0000001"});
  const Finished stopped = train(limited);
  CHECK_EQ(stopped.status, 0);
  CHECK_NE(stopped.err.find("stopped at step"), std::string::npos);
  REQUIRE_EQ(train({"--resume", bench.run("limited"), "--max-minutes", "0"}).status, 0);
  check_same_run(bench.run("whole"), bench.run("limited"), "step-000030.safetensors");
  const Finished again = train({"--resume", bench.run("limited"), "--max-minutes", "0"});
  REQUIRE_EQ(again.status, 0);
  CHECK_EQ(again.out.find("tokens/s"), std::string::npos);  // there was no step
  check_same_run(bench.run("whole"), bench.run("limited"), "step-000030.safetensors");
}

TEST_CASE("train_lra: a run that another program works on is refused and stays whole") {
  const Bench bench;
  const fs::path run = bench.run("run");
  Subprocess first(program(), bench.args("run", {"--steps", "1000000"}));
  wait_for_step(run, 5);
  check_fails({"--resume", run.string()}, 1, "another program is working on the run " + run.string());
  first.signal(SIGTERM);
  CHECK_EQ(first.wait().status, 143);
  const std::string text = read_text(run / "metrics.jsonl");
  CHECK_EQ(records(run).size(), static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')));
}

TEST_CASE("train_lra: numbers of a checkpoint that cannot be are named") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "5"})).status, 0);
  const fs::path checkpoint = fs::path(bench.run("run")) / "checkpoints/step-000005.safetensors";
  const SafetensorsFile good = read_safetensors(checkpoint);
  struct Case {
    const char* field;
    nlohmann::json value;
    const char* text;
  };
  for (const Case& c : std::vector<Case>{{"/step", -5, "step is -5, expected a whole number between 0 and 5"},
                                         {"/step", 1.5, "step is 1.5, expected"},
                                         {"/step", 1000000000000000000, "step is 1000000000000000000, expected"},
                                         {"/best_step", 9, "best_step is 9, expected"},
                                         {"/accuracy", 2.0, "accuracy is 2.0, expected a number between 0 and 1"},
                                         {"/window/correct", 1, "window/correct is 1, expected"},
                                         {"/metrics_bytes", -1, "metrics_bytes is -1, expected"}}) {
    CAPTURE(c.text);
    SafetensorsFile bad = good;
    nlohmann::json state = nlohmann::json::parse(good.metadata.at("state"));
    state[nlohmann::json::json_pointer(c.field)] = c.value;
    bad.metadata["state"] = state.dump();
    write_safetensors(checkpoint, bad);
    check_fails({"--resume", bench.run("run")}, 1, cat(checkpoint.string(), ": metadata \"state\": ", c.text));
  }
}

TEST_CASE("train_lra: a resumed run keeps its configuration and its data") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "10"})).status, 0);
  check_fails({"--resume", bench.run("run"), "--width", "16"}, 2, "--width cannot be given with --resume");
  check_fails({"--resume", bench.run("run"), "--cuda-graph"}, 2, "--cuda-graph needs --device cuda");
  for (const char* free : {"--cuda-graph=false", "--device=cpu", "--threads=2", "--progress-seconds=1e3"}) {
    const Finished again = train({"--resume", bench.run("run"), free});
    CAPTURE(again.err);
    CHECK_EQ(again.status, 0);
  }
  const fs::path moved = bench.run("moved-data");
  fs::rename(bench.data, moved);
  check_fails({"--resume", bench.run("run")}, 1, "make it with: make_data");
  CHECK_EQ(train({"--resume", bench.run("run"), "--data", moved.string()}).status, 0);
  std::ofstream(moved / "basic_test.tsv") << "Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n";
  check_fails({"--resume", bench.run("run"), "--data", moved.string()}, 1, "saved by a run on other data");
}

TEST_CASE("train_lra: a checkpoint of another model") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("narrow", {"--steps", "5"})).status, 0);
  REQUIRE_EQ(train(bench.args("wide", {"--steps", "5", "--width", "12"})).status, 0);
  const char* checkpoint = "checkpoints/step-000005.safetensors";
  fs::copy_file(fs::path(bench.run("wide")) / checkpoint, fs::path(bench.run("narrow")) / checkpoint,
                fs::copy_options::overwrite_existing);
  check_fails({"--resume", bench.run("narrow")}, 1, "a checkpoint of another model: ");
  check_fails({"--resume", bench.run("narrow")}, 1, "weight is [");
  std::ofstream(fs::path(bench.run("narrow")) / checkpoint) << "not a safetensors file at all";
  check_fails({"--resume", bench.run("narrow")}, 1, checkpoint);
}

TEST_CASE("train_lra: a full disk while saving leaves the older checkpoint intact") {
  const Bench bench;
  const fs::path run = bench.run("run");
  const Args args = bench.args("run", {"--steps", "1000", "--checkpoint-every", "50", "--evaluate-every", "1000"});
  Subprocess first(program(), args);
  wait_for_step(run, 110);
  first.signal(SIGTERM);
  REQUIRE_EQ(first.wait().status, 143);
  std::map<fs::path, std::string> before;
  for (const fs::directory_entry& entry : fs::directory_iterator(run / "checkpoints"))
    before[entry.path()] = read_text(entry.path());
  REQUIRE_EQ(before.size(), 2);

  // Enough for the records, not for a checkpoint.
  Subprocess second("train_lra", {"--resume", run.string()}, before.begin()->second.size() / 2);
  const Finished full = second.wait();
  CAPTURE(full.err);
  CHECK_EQ(full.status, 1);
  CHECK_NE(full.err.find("File too large"), std::string::npos);
  CHECK_NE(full.err.find("safetensors"), std::string::npos);
  std::map<fs::path, std::string> after;
  for (const fs::directory_entry& entry : fs::directory_iterator(run / "checkpoints"))
    after[entry.path()] = read_text(entry.path());
  CHECK(after == before);

  REQUIRE_EQ(
      train(bench.args("whole", {"--steps", "1000", "--checkpoint-every", "50", "--evaluate-every", "1000"})).status,
      0);
  REQUIRE_EQ(train({"--resume", run.string()}).status, 0);
  check_same_run(bench.run("whole"), run, "step-001000.safetensors");
}

TEST_SUITE_END();
