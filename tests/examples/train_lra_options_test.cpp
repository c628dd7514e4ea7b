// train_lra: options, presets, folders and data that it takes, and how it refuses others.
#include <doctest/doctest.h>

#include <fstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/attention_options.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/train_options.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::TemporaryFolder;

namespace fs = std::filesystem;

TEST_SUITE_BEGIN("cpu");

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
  check_fails(bench.args("run", {"--device", "cuda", "--cuda-graph", "--accumulate", "2"}), 2,
              "--cuda-graph does not go with --accumulate 2: a recorded step is one batch");
  check_fails(bench.args("run", {"--device", "tpu"}), 1, "tpu");
  CHECK_FALSE(fs::exists(bench.run("run")));
  const Finished help = train({"--help"});
  CHECK_EQ(help.status, 0);
  CHECK_NE(help.out.find("--learning-rate X"), std::string::npos);
  CHECK_NE(help.out.find("Exit status: 0"), std::string::npos);
  CHECK_EQ(help.out.find("required"), std::string::npos);  // not with --resume
}

TEST_CASE("train_lra: options of other tasks") {
  const Bench bench;
  check_fails(bench.args("run", {"--cut", "9"}), 2,
              "--cut 9 belongs to --task text or retrieval or imdb-pairs or custom; this is");
  check_fails(bench.args("run", {"--paper-protocol"}), 2, "--paper-protocol belongs to --task text; this is listops");
  check_fails(bench.args("run", {"--task", "text", "--drop-brackets"}), 2,
              "--drop-brackets belongs to --task listops; this is text");
  CHECK_FALSE(fs::exists(bench.run("run")));
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
  const std::string padded = " needs --pad-to 2000, the --max-length: a sequence's result would depend on its batch";
  refused({"--attention", "paramixer", "--paramixer-mix-padding", "--pad-to", "0"}, "--paramixer-mix-padding" + padded);
  for (const std::string mode : {"official", "huggingface", "lucidrains"})
    refused({"--attention", "nystrom", "--nystrom-mask", mode, "--pad-to", "0", "--bucket", "20"},
            "--nystrom-mask " + mode + padded);
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

TEST_CASE("train_lra: what a build or a machine lacks is said before data are read") {
  if (cuda_device_count() > 0) return;
  const Bench bench;
  check_fails({"--attention", "nystrom", "--device", "cuda", "--data", bench.run("no data"), "--out", bench.run("run")},
              1, "'cuda' cannot be used: this ");
}

namespace {

// What the options settle to; no data are read.
TrainOptions settled(const Args& more) {
  TrainOptions options;
  Args args = {"--data", "data", "--out", "run"};
  args.insert(args.end(), more.begin(), more.end());
  const bool read = parse_train_options(args, options);  // throws what the cases below look at
  REQUIRE(read);
  return options;
}

void check_refused(const Args& more, const std::string& text) {
  CHECK_THROWS_WITH_AS(settled(more), text.c_str(), OptionError);
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("train_lra: the longest sequence is the task's, or where texts are cut") {
  const auto length = [](const Args& args) {
    const TrainOptions options = settled(args);
    CHECK(has_line(options.config, cat("max-length=", options.model.encoder.max_length)));
    CHECK_EQ(options.batches.max_length, options.model.encoder.max_length);
    return options.model.encoder.max_length;
  };
  CHECK_EQ(length({}), 2000);
  for (const char* task : {"text", "retrieval", "imdb-pairs", "custom"}) CHECK_EQ(length({"--task", task}), 4000);
  for (const char* task : {"image", "pathfinder"}) CHECK_EQ(length({"--task", task}), 1024);
  CHECK_EQ(length({"--task", "path-x"}), 16384);
  CHECK_EQ(length({"--task", "text", "--cut", "1024"}), 1024);
  CHECK_EQ(length({"--task", "text", "--cut", "8000"}), 8000);
  CHECK_EQ(length({"--task", "text", "--cut", "1024", "--max-length", "2048"}), 2048);
}

TEST_CASE("train_lra: batches have max-length positions where results depend on padding") {
  const auto pad_to = [](const Args& args) {
    const TrainOptions options = settled(args);
    CHECK(has_line(options.config, cat("pad-to=", options.batches.pad_to)));
    CHECK_EQ(options.config.find("pad-multiple=") == std::string::npos, options.batches.pad_to > 0);
    return options.batches.pad_to;
  };
  CHECK_EQ(pad_to({}), 0);
  CHECK_EQ(pad_to({"--attention", "nystrom"}), 0);
  CHECK_EQ(pad_to({"--attention", "nystrom", "--nystrom-mask", "official"}), 2000);
  CHECK_EQ(pad_to({"--attention", "nystrom", "--nystrom-segments", "padded", "--max-length", "700"}), 700);
  CHECK_EQ(pad_to({"--attention", "paramixer"}), 0);
  CHECK_EQ(pad_to({"--attention", "paramixer", "--mix-padding", "--task", "text", "--cut", "96"}), 96);
}

TEST_CASE("train_lra: the configuration shows what task and model read") {
  const auto shows = [](const Args& args, const std::string& key) {
    return ("\n" + settled(args).config).find(cat("\n", key, "=")) != std::string::npos;
  };
  for (const char* key : {"task", "drop-brackets", "max-length", "feed-forward", "heads", "steps"})
    CHECK(shows({}, key));
  for (const char* key : {"cut", "grey", "difficulty", "zero-is-pad", "paper-protocol", "landmarks", "mix-padding"})
    CHECK_FALSE(shows({}, key));
  CHECK(shows({"--task", "text"}, "cut"));
  CHECK(shows({"--task", "text"}, "paper-protocol"));
  CHECK_FALSE(shows({"--task", "text"}, "drop-brackets"));
  CHECK(shows({"--task", "path-x"}, "difficulty"));
  CHECK(shows({"--attention", "paramixer"}, "mix-padding"));
  CHECK(shows({"--attention", "paramixer"}, "factor-rule"));
  CHECK_FALSE(shows({"--attention", "paramixer", "--factors", "3"}, "factor-rule"));
  CHECK_FALSE(shows({"--attention", "paramixer"}, "feed-forward"));
  CHECK_FALSE(shows({"--attention", "combiner"}, "combiner-summary"));
}

TEST_CASE("train_lra: --set is another way to write an option") {
  const TemporaryFolder folder;
  const std::string preset = (folder / "preset.toml").string();
  std::ofstream(preset) << "task = \"text\"\nsteps = 3\nwidth = 32\n";
  const TrainOptions options =
      settled({"--set", "steps=7", "--preset", preset, "--set=causal=true", "--seed", "9", "--set", "schedule=cosine"});
  CHECK_EQ(options.steps, 7);
  CHECK_EQ(options.model.encoder.width, 32);
  CHECK(options.model.encoder.attention.causal);
  CHECK_EQ(options.seed, 9);
  CHECK_EQ(options.schedule.kind, nn::ScheduleKind::cosine);
  CHECK(has_line(options.config, "steps=7"));

  check_refused({"--set", "stps=3"}, "--set stps=3: unknown key 'stps'; the nearest is steps");
  check_refused({"--set", "beta3=0.5"}, "--set beta3=0.5: unknown key 'beta3'; the nearest is beta1 or beta2");
  check_refused({"--set", "steps"}, "--set steps: there is no '=', expected KEY=VALUE");
  check_refused({"--set", "=3"}, "--set =3: unknown key ''");
  check_refused({"--set", "steps=many"},
                "--set steps=many: steps: many, expected a whole number between 0 and 1000000000");
  check_refused({"--set", "causal=1"}, "--set causal=1: causal: 1, expected true or false");
  check_refused({"--set", "steps=3", "--steps", "4"}, "--set steps=3: --steps is given, too");
  check_refused({"--steps=4", "--set", "steps=3"}, "--set steps=3: --steps is given, too");
  check_refused({"--set", "steps=3", "--set", "steps=4"}, "--set steps=4: the key is set twice");
  for (const char* key : {"resume", "preset", "check-data", "set", "help"}) {  // no keys of presets
    CAPTURE(key);
    CHECK_THROWS_AS(settled({"--set", cat(key, "=x")}), OptionError);
  }
  CHECK_THROWS_AS(settled({"--set"}), OptionError);
}

TEST_CASE("train_lra: --set on resume") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--set", "steps=2", "--set", "evaluate-every=1"})).status, 0);
  CHECK(has_line(read_text(fs::path(bench.run("run")) / "config.toml"), "steps=2"));
  check_fails({"--resume", bench.run("run"), "--set", "steps=3"}, 2, "--steps cannot be given with --resume; it comes");
  CHECK_EQ(train({"--resume", bench.run("run"), "--set", "threads=2"}).status, 0);
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

TEST_CASE("train_lra: the presets of listops take a step") {
  const Bench bench;
  Index presets = 0;
  for (const auto& entry : fs::directory_iterator(cat(SUBQUAD_SOURCE_DIR, "/examples/lra/presets/listops"))) {
    const std::string name = entry.path().stem().string();
    CAPTURE(name);
    const Finished finished = train({"--preset", entry.path().string(), "--data", bench.data, "--out", bench.run(name),
                                     "--threads", "1", "--steps", "1", "--batch-size", "4", "--progress-seconds", "0"});
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 0);
    ++presets;
  }
  CHECK_GE(presets, 16);
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

TEST_CASE("train_lra: sets that are the same are refused") {
  const Bench bench;
  const fs::path data = bench.data;
  fs::copy_file(data / "basic_val.tsv", data / "basic_test.tsv", fs::copy_options::overwrite_existing);
  check_fails(bench.args("run"), 1, "the validation set and the test set are the same");
  fs::copy_file(data / "basic_train.tsv", data / "basic_test.tsv", fs::copy_options::overwrite_existing);
  check_fails(bench.args("run"), 1, "the training set and the test set are the same");
}

TEST_SUITE_END();
