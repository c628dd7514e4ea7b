// train_lra as its users run it: a run, what it leaves, each attention and model.
#include <doctest/doctest.h>

#include <map>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/device.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;

namespace fs = std::filesystem;

TEST_SUITE("cuda") {
  TEST_CASE("train_lra: on a device, eager and as graphs give the same bytes, in each precision") {
    const Bench bench;
    for (const char* precision : {"fp32", "tf32", "bf16"}) {
      CAPTURE(precision);
      const std::string eager = cat(precision, "-eager"), graph = cat(precision, "-graph");
      Args more = {"--device", "cuda", "--precision", precision, "--steps", "4", "--evaluate-every", "2"};
      REQUIRE_EQ(train(bench.args(eager, more)).status, 0);
      more.push_back("--cuda-graph");
      const Finished finished = train(bench.args(graph, more));
      CAPTURE(finished.err);
      REQUIRE_EQ(finished.status, 0);
      const std::string where =
          cat("cuda:0 ", device_name(subquad::test::device()), ", ", precision, ", steps as graphs");
      CHECK_NE(finished.err.find(where), std::string::npos);
      check_same_run(bench.run(eager), bench.run(graph), "step-000004.safetensors");
    }
    CHECK_NE(read_text(fs::path(bench.run("fp32-eager")) / "checkpoints" / "best.safetensors"),
             read_text(fs::path(bench.run("bf16-eager")) / "checkpoints" / "best.safetensors"));
  }

  TEST_CASE("train_lra: on a device, with each attention, eager and as graphs give the same bytes") {
    const Bench bench;
    const std::map<std::string, Args> attentions = {
        {"nystrom", {"--landmarks", "2"}},
        {"fsat", {}},
        {"paramixer", {"--heads", "1", "--feed-forward", "128", "--head-hidden", "128"}},
        {"combiner", {}}};
    for (const auto& [attention, own] : attentions) {
      CAPTURE(attention);
      Args more = {"--device", "cuda", "--attention", attention, "--steps", "4", "--evaluate-every", "4"};
      more.insert(more.end(), own.begin(), own.end());
      const Finished eager = train(bench.args(attention + "-eager", more));
      CAPTURE(eager.err);
      REQUIRE_EQ(eager.status, 0);
      more.push_back("--cuda-graph");
      const Finished graph = train(bench.args(attention + "-graph", more));
      CAPTURE(graph.err);
      REQUIRE_EQ(graph.status, 0);
      check_same_run(bench.run(attention + "-eager"), bench.run(attention + "-graph"), "step-000004.safetensors");
    }
  }
}

TEST_SUITE_BEGIN("cpu");

TEST_CASE("train_lra: says where nystrom's landmarks cover a batch, which then runs softmax attention") {
  const Bench bench;
  int runs = 0;
  const auto said = [&](Args more, const std::string& attention = "nystrom") {  // its data has up to 13 tokens
    more.insert(more.end(), {"--attention", attention, "--steps", "1", "--pad-multiple", "4"});
    const Finished finished = train(bench.args(cat("run", ++runs), more));
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 0);
    return finished.err.find("note: nystrom: batches of up to ") != std::string::npos;
  };
  CHECK(said({"--landmarks", "64"}));
  CHECK(said({"--landmarks", "4"}));  // 3 tokens, padded to 4
  CHECK(said({"--landmarks", "16", "--pad-to", "16"}));
  CHECK_FALSE(said({"--landmarks", "2"}));
  CHECK_FALSE(said({"--landmarks", "15", "--pad-to", "16"}));
  CHECK_FALSE(said({"--landmarks", "64", "--exact-when-covered", "false"}));
  CHECK_FALSE(said({}, "softmax"));
}

TEST_CASE("train_lra: a whole run leaves config, records, checkpoints and a table") {
  const Bench bench;
  const Finished finished = train(bench.args("run", {"--steps", "30", "--evaluate-every", "10", "--checkpoint-every",
                                                     "10", "--weight-decay", "0.01", "--bucket", "2"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  for (const char* text :
       {"best", "root operator rule", "majority class", "chance", "tokens/s", "waiting for data", "MiB"}) {
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
  std::istringstream timing(read_text(run / "timing.jsonl"));
  Index speeds = 0, evaluations = 0;
  for (std::string line; std::getline(timing, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    if (record.at("kind") == "session") continue;
    ++(record.at("kind") == "speed" ? speeds : evaluations);
    CHECK_GE(record.at("waiting_share"), 0.);
    CHECK_LE(record.at("waiting_share"), 1.);
  }
  CHECK_EQ(speeds, 6);
  CHECK_GE(evaluations, 4);  // three validations and a test
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

TEST_CASE("train_lra: a validation whose loss is not finite is an error") {
  const Bench bench;
  check_fails(bench.args("run", {"--steps", "1", "--learning-rate", "1e38", "--clip-norm", "0"}), 1,
              "validation at step 1: loss ");
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
  check_fails(args("run", {"--mix-padding", "--pad-to", "8"}), 2,
              "--mix-padding needs --pad-to 16, the --max-length: ");
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

TEST_CASE("train_lra: of each set as many samples as are asked for") {
  const Bench bench;
  const Finished finished =
      train(bench.args("run", {"--steps", "3", "--batch-size", "5", "--train-samples", "5", "--validation-samples", "4",
                               "--test-samples", "3", "--log-every", "1"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  for (const std::string& said : {finished.err, finished.out})
    CHECK_NE(said.find("note: of the 60 samples of the training set, 5 are used"), std::string::npos);
  const std::vector<nlohmann::json> found = records(bench.run("run"));
  CHECK_EQ(found.at(0).at("train"), 5);
  CHECK_EQ(found.at(0).at("validation"), 4);
  CHECK_EQ(found.at(0).at("test"), 3);
  CHECK_EQ(found.at(3).at("epoch"), 2);  // every step is an epoch of one batch
  check_fails(bench.args("other", {"--train-samples", "61"}), 1, "--train-samples 61: the training set has 60 samples");
  CHECK_FALSE(fs::exists(bench.run("other")));
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

TEST_CASE("train_lra: zero steps test the model as it is initialised") {
  const Bench bench;
  const Finished finished = train(bench.args("run", {"--steps", "0"}));
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, 0);
  CHECK_NE(finished.out.find("last (step 0)"), std::string::npos);
}

TEST_SUITE_END();
