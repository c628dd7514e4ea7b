// train_lra as its users run it, on a model so small that a run takes well under a second.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "subquad/core/error.h"
#include "subquad/core/safetensors.h"
#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/listops_tsv.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/examples/scratch_folder.h"
#include "subquad/tests/support/device.h"
#include "subquad/tests/support/subprocess.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::ScratchFolder;
using subquad::test::Subprocess;

namespace fs = std::filesystem;

namespace {

using Args = std::vector<std::string>;

void write_data(const fs::path& folder) {
  fs::create_directories(folder);
  const std::vector<Sequences> sets = generate_listops(7, {60, 20, 20}, {.min_length = 3, .max_length = 13});
  write_listops(folder / "basic_train.tsv", sets[0]);
  write_listops(folder / "basic_val.tsv", sets[1]);
  write_listops(folder / "basic_test.tsv", sets[2]);
}

// A folder with data, and how to train on it.
struct Bench {
  ScratchFolder scratch;
  std::string data = (scratch / "data").string();

  Bench() { write_data(data); }

  std::string run(const std::string& name) const { return (scratch / name).string(); }

  // Those of a tiny model, where `more` does not give others.
  Args args(const std::string& name, const Args& more = {}) const {
    const std::vector<std::pair<std::string, std::string>> tiny = {
        {"--data", data},           {"--out", run(name)},  {"--threads", "1"},          {"--layers", "1"},
        {"--width", "8"},           {"--heads", "2"},      {"--feed-forward", "8"},     {"--head-hidden", "8"},
        {"--max-length", "16"},     {"--batch-size", "8"}, {"--learning-rate", "0.01"}, {"--log-every", "5"},
        {"--progress-seconds", "0"}};
    Args all = more;
    for (const auto& [option, value] : tiny)
      if (std::find(more.begin(), more.end(), option) == more.end()) all.insert(all.end(), {option, value});
    return all;
  }
};

// train_lra itself, or the one whose CUDA kernels run on the interpreter.
std::string program() {
  return subquad::test::interpreted() ? "train_lra_simt" : "train_lra";
}

Finished train(const Args& args) {
  return run_program(program(), args);
}

// The program must fail with `status`, and say `text` on stderr.
void check_fails(const Args& args, int status, const std::string& text) {
  const Finished finished = train(args);
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, status);
  CHECK_NE(finished.err.find(text), std::string::npos);
}

std::vector<nlohmann::json> records(const fs::path& run) {
  std::vector<nlohmann::json> found;
  if (!fs::exists(run / "metrics.jsonl")) return found;
  std::istringstream lines(read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json record = nlohmann::json::parse(line, nullptr, false);  // the last line may be half written
    if (!record.is_discarded()) found.push_back(record);
  }
  return found;
}

void wait_for_step(const fs::path& run, Index step) {
  for (int tries = 0; tries < 3000; ++tries) {
    for (const nlohmann::json& record : records(run))
      if (record.value("step", Index{0}) >= step) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL("the run never came to step ", step);
}

void check_same_run(const fs::path& a, const fs::path& b, const std::string& last_checkpoint) {
  CHECK_EQ(read_text(a / "metrics.jsonl"), read_text(b / "metrics.jsonl"));
  for (const std::string& name : {last_checkpoint, std::string("best.safetensors")}) {
    CAPTURE(name);
    const std::string bytes = read_text(a / "checkpoints" / name);
    CHECK_FALSE(bytes.empty());
    CHECK(bytes == read_text(b / "checkpoints" / name));
  }
}

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("train_lra: on a device, eager and as graphs give the same bytes, in each precision") {
    const Bench bench;
    for (const char* precision : {"fp32", "tf32", "bf16"}) {
      CAPTURE(precision);
      const std::string eager = cat(precision, "-eager"), graph = cat(precision, "-graph");
      Args more = {"--device", "cuda", "--precision", precision, "--steps", "12", "--evaluate-every", "6"};
      REQUIRE_EQ(train(bench.args(eager, more)).status, 0);
      more.push_back("--cuda-graph");
      const Finished finished = train(bench.args(graph, more));
      CAPTURE(finished.err);
      REQUIRE_EQ(finished.status, 0);
      const std::string where =
          cat("cuda:0 ", device_name(subquad::test::device()), ", ", precision, ", steps as graphs");
      CHECK_NE(finished.err.find(where), std::string::npos);
      check_same_run(bench.run(eager), bench.run(graph), "step-000012.safetensors");
    }
    CHECK_NE(read_text(fs::path(bench.run("fp32-eager")) / "checkpoints" / "best.safetensors"),
             read_text(fs::path(bench.run("bf16-eager")) / "checkpoints" / "best.safetensors"));
  }

  TEST_CASE("train_lra: killed on a device and resumed equals uninterrupted, byte for byte") {
    const Bench bench;
    const Args more = {"--device",         "cuda", "--cuda-graph",       "--steps", "40", "--log-every", "4",
                       "--evaluate-every", "20",   "--checkpoint-every", "10"};
    REQUIRE_EQ(train(bench.args("whole", more)).status, 0);
    Subprocess first(program(), bench.args("killed", more));
    wait_for_step(bench.run("killed"), 16);
    first.signal(SIGKILL);
    first.wait();
    REQUIRE_EQ(train({"--resume", bench.run("killed")}).status, 0);
    check_same_run(bench.run("whole"), bench.run("killed"), "step-000040.safetensors");
  }
}

TEST_SUITE_BEGIN("cpu");

TEST_CASE("train_lra: a whole run leaves config, records, checkpoints and a table") {
  const Bench bench;
  const Finished finished = train(bench.args("run", {"--steps", "30", "--evaluate-every", "10", "--checkpoint-every",
                                                     "10", "--weight-decay", "0.01", "--bucket", "2"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  for (const char* text : {"best", "root operator rule", "majority class", "chance", "tokens/s", "MiB"}) {
    CAPTURE(text);
    CHECK_NE(finished.out.find(text), std::string::npos);
  }
  CHECK_NE(finished.err.find("weight-decay=0.01"), std::string::npos);
  CHECK_NE(finished.err.find("step 30/30   loss "), std::string::npos);

  const fs::path run = bench.run("run");
  CHECK_NE(read_text(run / "config.toml").find("weight-decay=0.01"), std::string::npos);
  std::map<std::string, int> kinds;
  for (const nlohmann::json& record : records(run)) ++kinds[record.at("kind")];
  CHECK_EQ(kinds["start"], 1);
  CHECK_EQ(kinds["train"], 6);
  CHECK_EQ(kinds["validation"], 3);
  CHECK_GE(kinds["test"], 1);
  CHECK_FALSE(fs::exists(run / "checkpoints" / "step-000010.safetensors"));
  CHECK(fs::exists(run / "checkpoints" / "step-000020.safetensors"));
  CHECK(fs::exists(run / "checkpoints" / "step-000030.safetensors"));
  CHECK(fs::exists(run / "checkpoints" / "best.safetensors"));
}

TEST_CASE("train_lra: the same command gives the same bytes, for any number of threads") {
  const Bench bench;
  const Args more = {"--steps", "20", "--evaluate-every", "10"};
  REQUIRE_EQ(train(bench.args("a", more)).status, 0);
  REQUIRE_EQ(train(bench.args("b", {"--threads", "2", "--steps", "20", "--evaluate-every", "10"})).status, 0);
  check_same_run(bench.run("a"), bench.run("b"), "step-000020.safetensors");
}

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

TEST_CASE("train_lra: wrong options") {
  const Bench bench;
  check_fails(bench.args("run", {"--stps", "3"}), 2, "unknown option --stps; the nearest is --steps");
  check_fails(bench.args("run", {"--batch-size", "0"}), 2,
              "--batch-size: 0, expected a whole number between 1 and 1000000");
  check_fails(bench.args("run", {"--attention", "magic"}), 2,
              "--attention: 'magic' is not in this build; available: softmax");
  check_fails(bench.args("run", {"--task", "pathx"}), 2, "--task: 'pathx' is not in this build; available: listops");
  check_fails(bench.args("run", {"--schedule", "zigzag"}), 2, "'zigzag', expected one of constant, linear");
  check_fails(bench.args("run", {"--pad-to", "17"}), 2, "--pad-to 17 is more than --max-length 16");
  check_fails({"--out", bench.run("run")}, 2, "--data is required");
  check_fails({"--data", bench.data}, 2, "--out is required");
  check_fails(bench.args("run", {"--out", ""}), 2, "--out: the name is empty");
  check_fails(bench.args("run", {"--data", ""}), 2, "--data: the name is empty");
  check_fails(bench.args("run", {"--heads", "3"}), 2, "--width 8 does not divide by --heads 3");
  check_fails(bench.args("run", {"--beta1", "1"}), 2, "--beta1: 1, expected a number at least 0 and below 1");
  check_fails(bench.args("run", {"--epsilon", "0"}), 2, "--epsilon: 0, expected a number above 0");
  check_fails(bench.args("run", {"--steps", "99999999999999999999"}), 2, "--steps: 99999999999999999999, expected a");
  check_fails(bench.args("run", {"--seed", "-1"}), 2, "--seed: -1, expected a whole number between 0 and");
  for (const char* option : {"--batch-size", "--bucket", "--pad-multiple", "--pad-to", "--layers", "--width", "--heads",
                             "--feed-forward", "--threads", "--max-length"})
    check_fails(bench.args("run", {option, "9223372036854775807"}), 2,
                cat(option, ": 9223372036854775807, expected a whole number between "));
  if (cuda_device_count() == 0) check_fails(bench.args("run", {"--device", "cuda"}), 1, "'cuda' cannot be used: this ");
  check_fails(bench.args("run", {"--precision", "bf16"}), 2,
              "--precision bf16 needs --device cuda: the CPU computes in fp32");
  check_fails(bench.args("run", {"--precision", "fp8"}), 2, "'fp8' is unknown, expected fp32, tf32 or bf16");
  check_fails(bench.args("run", {"--cuda-graph"}), 2, "--cuda-graph needs --device cuda");
  check_fails(bench.args("run", {"--device", "cuda", "--cuda-graph", "--schedule", "one_cycle"}), 2,
              "--cuda-graph does not go with --schedule one_cycle, which changes beta1 from step to step");
  check_fails(bench.args("run", {"--device", "tpu"}), 1, "tpu");
  CHECK_FALSE(fs::exists(bench.run("run")));
  const Finished help = train({"--help"});
  CHECK_EQ(help.status, 0);
  CHECK_NE(help.out.find("--learning-rate X"), std::string::npos);
  CHECK_NE(help.out.find("Exit status: 0"), std::string::npos);
  CHECK_EQ(help.out.find("required"), std::string::npos);  // not with --resume
}

TEST_CASE("train_lra: options of attention") {
  const Bench bench;
  check_fails(bench.args("run", {"--pinv-start", "zero"}), 2,
              "--pinv-start: 'zero', expected one of exact, original, product");
  check_fails(bench.args("run", {"--lags", "9"}), 2, "--lags 9 belongs to --attention fsat; this is softmax");
  check_fails(bench.args("run", {"--own-span"}), 2, "--own-span belongs to --attention combiner; this is softmax");
  check_fails(bench.args("run", {"--truncate", "no"}), 2, "--truncate: 'no', expected true or false");
  check_fails(bench.args("run", {"--fsat-window", "-2"}), 2,
              "--fsat-window: -2, expected a whole number between 0 and ");
  CHECK_FALSE(fs::exists(bench.run("run")));

  // All of them stand in config.toml, and a run goes on with it.
  const Finished finished = train(bench.args("run", {"--steps", "2", "--attention-bias", "false", "--causal"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  CHECK_NE(finished.err.find("feed-forward=8"), std::string::npos);
  CHECK_EQ(finished.err.find("landmarks="), std::string::npos);  // not read by this attention, so not shown
  const std::string config = read_text(fs::path(bench.run("run")) / "config.toml");
  for (const char* line :
       {"attention-bias=false", "causal=true", "landmarks=64", "pinv-start=\"exact\"", "exact-when-covered=true",
        "fsat-window=8", "protocol=\"chord\"", "combiner-pattern=\"fixed\"", "own-span=false", "local-window=32"}) {
    CAPTURE(line);
    CHECK_NE(config.find(line), std::string::npos);
  }
  CHECK_EQ(train({"--resume", bench.run("run")}).status, 0);
}

TEST_CASE("train_lra: an attention that a config does not suit says so before data are read") {
  const Bench bench;
  const auto refused = [&](const Args& more, const std::string& text) {
    Args args = more;
    args.insert(args.end(), {"--data", bench.run("no data"), "--out", bench.run("run")});
    check_fails(args, 2, text);
  };
  refused({"--attention", "nystrom", "--causal"}, "nystrom: causal is true, expected false");
  refused({"--attention", "fsat", "--lags", "0", "--columns", "0"}, "fsat: ");
  refused({"--attention", "paramixer", "--heads", "2"}, "paramixer: heads is 2, expected 1");
  refused({"--attention", "paramixer", "--protocol", "cdil", "--links", "4"}, "paramixer: links is 4, expected an odd");
  refused({"--attention", "combiner", "--combiner-pattern", "average", "--own-span"}, "combiner: own_span is true");
  const std::string padded = " needs --pad-to 2048, the --max-length: a sequence's result would depend on its batch";
  refused({"--attention", "paramixer", "--paramixer-mix-padding"}, "--paramixer-mix-padding" + padded);
  for (const std::string mode : {"official", "huggingface", "lucidrains"})
    refused({"--attention", "nystrom", "--nystrom-mask", mode, "--bucket", "20"}, "--nystrom-mask " + mode + padded);
  refused({"--attention", "nystrom", "--nystrom-segments", "padded", "--pad-to", "9"},
          "--nystrom-segments padded" + padded);
  refused({"--attention", "local", "--segment", "8"}, "--segment 8 belongs to --attention combiner; this is local");
  refused({"--attention", "combiner", "--combiner-summary", "wsum"},
          "--combiner-summary wsum belongs to --combiner-pattern rowmajor; this is fixed");
  refused({"--attention", "combiner", "--combiner-pattern", "logsparse", "--segment", "7"},
          "--segment 7 belongs to any other --combiner-pattern; this is logsparse");
  refused({"--attention", "fsat", "--gamma-steps", "50"}, "--gamma-steps 50 belongs to --gamma above 0; this is 0");
  refused({"--attention", "paramixer", "--factors", "5", "--factor-rule", "floor"},
          "--factor-rule floor belongs to --factors 0; this is 5");
  refused({"--attention", "nystrom", "--pinv-iterations", "21"}, "expected a whole number between 1 and 20");
  refused({"--attention", "paramixer", "--factors", "41"}, "expected a whole number between 0 and 40");
  const std::string no_data = "there is no such folder";  // these are read, so what stops them comes later
  const auto taken = [&](Args more) {
    more.insert(more.end(), {"--data", bench.run("no data"), "--out", bench.run("run")});
    check_fails(more, 1, no_data);
  };
  taken({"--attention", "combiner", "--combiner-pattern", "rowmajor", "--combiner-summary", "wsum", "--segment", "7"});
  taken({"--attention", "fsat", "--gamma", "0.5", "--gamma-steps", "50"});
  taken({"--attention", "paramixer", "--factor-rule", "floor"});
  taken({"--attention", "paramixer", "--factors", "40"});
  taken({"--attention", "nystrom", "--pinv-iterations", "20"});
}

TEST_CASE("train_lra: an attention without kernels for the device is refused") {
  const Device gpu = {DeviceType::cuda, 1};
  CHECK_THROWS_WITH_AS(check_attention_device({.kind = "nystrom"}, gpu),
                       "--attention nystrom has no CUDA kernels yet: on --device cuda:1 it can be softmax; all run on "
                       "cpu",
                       OptionError);
  CHECK_NOTHROW(check_attention_device({.kind = "softmax"}, gpu));
  for (const std::string& kind : nn::attention_kinds()) CHECK_NOTHROW(check_attention_device({.kind = kind}, kCpu));
  if (cuda_device_count() > 0) return;
  const Bench bench;  // what a build or a machine lacks is said first, and before data are read
  check_fails({"--attention", "nystrom", "--device", "cuda", "--data", bench.run("no data"), "--out", bench.run("run")},
              1, "'cuda' cannot be used: this ");
}

TEST_CASE("train_lra: every attention trains, resumes and says what it is") {
  const Bench bench;
  for (const std::string& kind : nn::attention_kinds()) {
    CAPTURE(kind);
    // Paramixer stands in the mixer, which has none of the encoder's options.
    Args more = {"--attention", kind, "--steps", "6", "--max-minutes", "0.0000001"};
    if (kind == "paramixer") more.insert(more.end(), {"--heads", "1", "--feed-forward", "128", "--head-hidden", "128"});
    const Finished limited = train(bench.args(kind, more));
    CAPTURE(limited.err);
    REQUIRE_EQ(limited.status, 0);
    const Finished finished = train({"--resume", bench.run(kind), "--max-minutes", "0"});
    CAPTURE(finished.err);
    REQUIRE_EQ(finished.status, 0);
    CHECK_NE(finished.out.find(kind + " attention"), std::string::npos);
  }
}

TEST_CASE("train_lra: the mixer") {
  const Bench bench;
  const auto args = [&](const std::string& name, Args more) {  // without those that belong to the encoder
    more.insert(more.end(), {"--model", "mixer", "--feed-forward", "128", "--head-hidden", "128"});
    return bench.args(name, more);
  };
  check_fails(args("run", {"--norm", "post"}), 2, "--norm post belongs to --model encoder; this is mixer");
  check_fails(bench.args("run", {"--mix-padding"}), 2, "--mix-padding belongs to --model mixer; this is encoder");
  check_fails(args("run", {"--pooling", "flatten"}), 2,
              "--pooling flatten of a mixer needs --mix-padding; without, --pooling is mean or cls");
  check_fails(args("run", {"--mix-padding"}), 2, "--mix-padding needs --pad-to 16, the --max-length: ");
  CHECK_FALSE(fs::exists(bench.run("run")));

  const Finished by_default = train({"--attention", "paramixer", "--data", bench.data, "--out", bench.run("default"),
                                     "--max-length", "16", "--steps", "1", "--progress-seconds", "0"});
  CAPTURE(by_default.err);
  REQUIRE_EQ(by_default.status, 0);
  const std::string config = read_text(fs::path(bench.run("default")) / "config.toml");
  CHECK_NE(config.find("model=\"mixer\""), std::string::npos);
  CHECK_NE(config.find("heads=1"), std::string::npos);

  REQUIRE_EQ(train(args("whole", {"--steps", "20"})).status, 0);
  REQUIRE_EQ(train(args("limited", {"--steps", "20", "--max-minutes", "0.0000001"})).status, 0);
  REQUIRE_EQ(train({"--resume", bench.run("limited"), "--max-minutes", "0"}).status, 0);
  check_same_run(bench.run("whole"), bench.run("limited"), "step-000020.safetensors");
  const Finished published =
      train(args("published", {"--steps", "5", "--mix-padding", "--pooling", "flatten", "--pad-to", "16",
                               "--padding-row", "zero", "--embedding-bound", "0.1"}));
  CAPTURE(published.err);
  CHECK_EQ(published.status, 0);
}

TEST_CASE("train_lra: presets") {
  const Bench bench;
  const std::string preset = bench.run("preset.toml");
  std::ofstream(preset) << "# a comment\nsteps = 3\nschedule = \"cosine\"\nlerning-rate = 0.1\n";
  check_fails(bench.args("run", {"--preset", preset}), 2,
              preset + ": unknown key 'lerning-rate'; the nearest is learning-rate");
  std::ofstream(preset) << "# a comment\nsteps = 3\nschedule = \"cosine\"\n";
  REQUIRE_EQ(train(bench.args("run", {"--preset", preset})).status, 0);
  const std::string config = read_text(fs::path(bench.run("run")) / "config.toml");
  CHECK_NE(config.find("steps=3"), std::string::npos);
  CHECK_NE(config.find("schedule=\"cosine\""), std::string::npos);
}

TEST_CASE("train_lra: the presets that come with it are understood") {
  const Bench bench;
  Index presets = 0;
  for (const auto& entry : fs::directory_iterator(cat(SUBQUAD_SOURCE_DIR, "/examples/lra/presets"))) {
    const std::string name = entry.path().stem().string();
    CAPTURE(name);
    const Finished finished = train({"--preset", entry.path().string(), "--data", bench.data, "--out", bench.run(name),
                                     "--threads", "1", "--steps", "1", "--batch-size", "4", "--progress-seconds", "0"});
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 0);
    ++presets;
  }
  CHECK_GE(presets, 11);
}

TEST_CASE("train_lra: folders") {
  const Bench bench;
  fs::create_directories(bench.run("exists"));
  check_fails(bench.args("exists"), 1, "exists and is not overwritten");
  CHECK(fs::is_empty(bench.run("exists")));
  check_fails({"--data", bench.data + "/basic_val.tsv", "--out", bench.run("run")}, 1, "this is a file");
  check_fails({"--data", bench.run("none"), "--out", bench.run("run")}, 1,
              "make it with: make_data --task listops --out " + bench.run("none"));
  fs::remove(fs::path(bench.data) / "basic_val.tsv");
  check_fails(bench.args("run"), 1,
              "there is no basic_val.tsv; make all of it in a new folder and give that as --data: make_data --task ");
  check_fails({"--resume", bench.run("none")}, 1, "there is no such folder");
  CHECK_FALSE(fs::exists(bench.run("run")));
}

TEST_CASE("train_lra: what is wrong with the data is said with file and line, before a run folder is made") {
  const Bench bench;
  const fs::path train_file = fs::path(bench.data) / "basic_train.tsv";
  struct Case {
    const char* row;
    const char* text;
  };
  for (const Case& c : {Case{"( ( ( [MAX 2 ) x9 ) ] )\t9", "line 3: token 3: \"x9\" is no token of listops"},
                        Case{"( ( ( [MAX 2 ) 9 ) ] )\t10", "line 3: label \"10\" is out of range, expected 0..9"},
                        Case{"\t9", "line 3: "}}) {
    CAPTURE(c.row);
    std::ofstream(train_file) << "Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n" << c.row << "\r\n";
    check_fails(bench.args("run"), 1, cat(train_file.string(), ": ", c.text));
  }
  write_data(bench.data);
  check_fails(bench.args("run", {"--max-length", "5"}), 1, "--max-length 5: the data has sequences of up to 12 tokens");
  CHECK_FALSE(fs::exists(bench.run("run")));
}

TEST_CASE("train_lra: batches of one sample, and larger than the data") {
  const Bench bench;
  for (const char* size : {"1", "1000"}) {
    CAPTURE(size);
    const Finished finished = train(bench.args(cat("run", size), {"--batch-size", size, "--steps", "3"}));
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 0);
  }
}

TEST_CASE("train_lra: sets that are the same are refused") {
  const Bench bench;
  const fs::path data = bench.data;
  fs::copy_file(data / "basic_val.tsv", data / "basic_test.tsv", fs::copy_options::overwrite_existing);
  check_fails(bench.args("run"), 1, "the validation set and the test set are the same");
  fs::copy_file(data / "basic_train.tsv", data / "basic_test.tsv", fs::copy_options::overwrite_existing);
  check_fails(bench.args("run"), 1, "the training set and the test set are the same");
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

TEST_CASE("train_lra: zero steps test the model as it is initialised") {
  const Bench bench;
  const Finished finished = train(bench.args("run", {"--steps", "0"}));
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, 0);
  CHECK_NE(finished.out.find("last (step 0)"), std::string::npos);
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
