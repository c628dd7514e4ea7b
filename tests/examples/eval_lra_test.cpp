// eval_lra as its users run it.
#include <doctest/doctest.h>

#include <csignal>
#include <map>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::make_file;
using subquad::test::read_text;
using subquad::test::run_program;
using subquad::test::Subprocess;

namespace fs = std::filesystem;

namespace {

Finished evaluate(const Args& args) {
  return run_program("eval_lra", args);
}

void check_refused(const Args& args, int status, const std::string& text) {
  const Finished finished = evaluate(args);
  CAPTURE(finished.err);
  CHECK_EQ(finished.status, status);
  CHECK_NE(finished.err.find(text), std::string::npos);
}

// Bytes of all files of a folder, and when each was written.
std::map<fs::path, std::pair<std::string, fs::file_time_type>> snapshot(const fs::path& folder) {
  std::map<fs::path, std::pair<std::string, fs::file_time_type>> found;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) found[entry.path()] = {read_text(entry.path()), entry.last_write_time()};
  return found;
}

nlohmann::json score(const Bench& bench, Args args) {
  const std::string file = bench.run("score.json");
  args.insert(args.end(), {"--json", file});
  const Finished finished = evaluate(args);
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  return nlohmann::json::parse(read_text(file));
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("eval_lra: the very numbers of the training run, which stays as it is") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "30", "--evaluate-every", "10"})).status, 0);
  const std::string run = bench.run("run");
  const auto before = snapshot(run);
  int compared = 0;
  for (const nlohmann::json& record : records(run)) {
    if (record.at("kind") != "test") continue;
    const std::string name = record.at("checkpoint");
    for (const char* checkpoint : {"best", "last"}) {
      if (name.find(checkpoint) == std::string::npos) continue;
      const nlohmann::json found = score(bench, {run, "--checkpoint", checkpoint});
      CHECK_EQ(found.at("accuracy"), record.at("accuracy"));
      CHECK_EQ(found.at("loss"), record.at("loss"));
      CHECK_EQ(found.at("step"), record.at("step"));
      ++compared;
    }
  }
  CHECK_EQ(compared, 2);
  const nlohmann::json validation = score(bench, {run, "--split", "validation", "--checkpoint", "last"});
  for (const nlohmann::json& record : records(run))
    if (record.at("kind") == "validation" && record.at("step") == 30)
      CHECK_EQ(validation.at("loss"), record.at("loss"));
  CHECK(snapshot(run) == before);
}

TEST_CASE("eval_lra: classes, confusion and predictions tell of every sample once") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "10"})).status, 0);
  const nlohmann::json found = score(
      bench, {bench.run("run"), "--split", "train", "--predictions", bench.run("lines.tsv"), "--batch-size", "7"});
  CHECK_EQ(found.at("samples"), 60);
  CHECK_EQ(found.at("baselines").at("chance"), 0.1);
  Index samples = 0, correct = 0;
  std::map<std::string, std::map<std::string, Index>> counts;
  std::istringstream lines(read_text(bench.run("lines.tsv")));
  std::string header, number, label, predicted, probability;
  std::getline(lines, header);
  CHECK_EQ(header, "sample\tlabel\tpredicted\tprobability");
  while (lines >> number >> label >> predicted >> probability) {
    CHECK_EQ(number, std::to_string(samples++));
    correct += label == predicted;
    ++counts[label][predicted];
    CHECK_GT(std::stod(probability), 0.1);  // of ten classes the likeliest
    CHECK_LE(std::stod(probability), 1);
  }
  CHECK_EQ(samples, 60);
  CHECK_EQ(found.at("correct"), correct);
  for (int a = 0; a < 10; ++a) {
    for (int b = 0; b < 10; ++b) CHECK_EQ(found.at("confusion")[a][b], counts[cat(a)][cat(b)]);
    CHECK_EQ(found.at("classes")[a].at("correct"), counts[cat(a)][cat(a)]);
  }
  const Finished printed = evaluate({bench.run("run")});
  for (const char* text : {"checkpoint best, step 10; 20 samples of the test set", "accuracy  ", "root operator rule",
                           "majority class", "confusion: a row a label"}) {
    CAPTURE(text);
    CHECK_NE(printed.out.find(text), std::string::npos);
  }
}

TEST_CASE("eval_lra: a run at work, whose checkpoints are replaced meanwhile") {
  const Bench bench;
  const fs::path run = bench.run("run");
  Subprocess training("train_lra", bench.args("run", {"--steps", "1000000", "--log-every", "1", "--checkpoint-every",
                                                      "1", "--evaluate-every", "1"}));
  wait_for_step(run, 3);
  for (int i = 0; i < 5; ++i) {
    for (const char* checkpoint : {"best", "last"}) {
      const Finished finished = evaluate({run.string(), "--checkpoint", checkpoint});
      CAPTURE(finished.err);
      CHECK_EQ(finished.status, 0);
    }
  }
  training.signal(SIGTERM);
  CHECK_EQ(training.wait().status, 143);
}

TEST_CASE("eval_lra: other data than the run's are refused, both hashes named") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "5"})).status, 0);
  const std::string other = bench.run("other");
  fs::create_directories(other);
  for (const char* name : {"basic_train.tsv", "basic_val.tsv", "basic_test.tsv"})
    fs::copy_file(fs::path(bench.data) / name, fs::path(other) / name);
  CHECK_EQ(evaluate({bench.run("run"), "--data", other}).status, 0);
  std::ofstream(fs::path(other) / "basic_test.tsv") << "Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n";
  const std::string hash = records(bench.run("run")).front().at("data_hash");
  check_refused({bench.run("run"), "--data", other}, 1, "are not those of the run (hash " + hash + ")");
  const Finished anyway = evaluate({bench.run("run"), "--data", other, "--any-data"});
  CAPTURE(anyway.err);
  CHECK_EQ(anyway.status, 0);
  CHECK_NE(anyway.out.find("note: the data in " + other), std::string::npos);
  CHECK_NE(anyway.out.find("; 1 samples of the test set"), std::string::npos);
}

TEST_CASE("eval_lra: what cannot be scored") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "5"})).status, 0);
  REQUIRE_EQ(train(bench.args("wide", {"--steps", "5", "--width", "12"})).status, 0);
  const fs::path run = bench.run("run");
  check_refused({}, 2, "expected the folder of a run");
  check_refused({run.string(), "--split", "dev"}, 2, "--split: 'dev', expected test, validation or train");
  check_refused({run.string(), "--batchsize", "3"}, 2, "unknown option --batchsize; the nearest is --batch-size");
  check_refused({bench.run("nowhere")}, 1, "there is no such folder");
  check_refused({run.string(), "--checkpoint", "bets"}, 1,
                "--checkpoint bets: there is no such file, expected best, last or a file");
  check_refused({run.string(), "--checkpoint", bench.run("wide/checkpoints/best.safetensors")}, 1,
                "a checkpoint of another model: ");
  check_refused({run.string(), "--json", bench.run("no/such/place")}, 1, "no/such/place");
  check_refused({run.string(), "--data", bench.run("nowhere")}, 1, "there is no such folder");
  fs::remove(run / "checkpoints/best.safetensors");
  check_refused({run.string()}, 1, "there is no best checkpoint, for want of a validation; --checkpoint last takes");
  fs::remove(run / "checkpoints/step-000005.safetensors");
  check_refused({run.string(), "--checkpoint", "last"}, 1, "no checkpoint has been saved yet");

  const std::string seeds = bench.run("seeds");
  fs::create_directories(fs::path(seeds) / "seed-2/checkpoints");
  make_file(fs::path(seeds) / "seed-2/config.toml", "");
  check_refused({seeds}, 1,
                cat(seeds, ": it holds the runs of several seeds; give one of them, such as ", seeds, "/seed-2"));
}

TEST_SUITE_END();
