// What a run writes down of its task.
#include "subquad/examples/lra/run_start.h"

#include <doctest/doctest.h>

#include "subquad/core/error.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::make_file;
using subquad::test::ScratchFolder;

namespace fs = std::filesystem;

namespace {

void check_refused(const std::string& metrics, const std::string& text) {
  const ScratchFolder scratch;
  fs::create_directories(scratch / "checkpoints");
  make_file(scratch / "config.toml", "");
  make_file(scratch / "metrics.jsonl", metrics);
  std::string said;
  try {
    read_run_start(RunFolder::open(scratch / ""));
  } catch (const FormatError& error) {
    said = error.what();
  }
  CAPTURE(said);
  CHECK_NE(said.find(text), std::string::npos);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("run start: a run says what its model takes and what its classes are") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "1"})).status, 0);
  const RunStart start = read_run_start(RunFolder::open(bench.run("run")));
  CHECK_EQ(start.shape.vocabulary, 16);
  CHECK_EQ(start.shape.classes, 10);
  CHECK_EQ(start.shape.parts, 1);
  CHECK_EQ(start.class_names.at(7), "7");
}

TEST_CASE("run start: a class name may be any bytes") {
  const Bench bench;
  const fs::path data = bench.run("own");
  make_file(data / "train.tsv", "ham\tdear\n\xE4pfel\tlove\n");
  make_file(data / "val.tsv", "ham\tnow\n");
  make_file(data / "test.tsv", "ham\tthen\n");
  const Finished finished =
      train(bench.args("run", {"--task", "custom", "--data", data.string(), "--steps", "1", "--max-length", "16"}));
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  const RunStart start = read_run_start(RunFolder::open(bench.run("run")));
  CHECK_EQ(start.class_names, std::vector<std::string>{"ham", "\xEF\xBF\xBDpfel"});
}

TEST_CASE("run start: what is missing or wrong is named") {
  check_refused("", "there is no record of a start");
  check_refused(R"({"kind":"start","task":"text"})", "line 1: the start of the run has no vocabulary; an earlier");
  check_refused(R"({"kind":"start","vocabulary":16})", "has no parts");
  check_refused(R"({"kind":"start","vocabulary":"many"})", "vocabulary is \"many\", expected a number");
  check_refused(R"({"kind":"start","vocabulary":16,"parts":3})", "parts is 3, expected 1 or 2");
  check_refused(R"({"kind":"start","vocabulary":16,"parts":1})", "has no class_names");
  check_refused(R"({"kind":"start","vocabulary":16,"parts":1,"class_names":[]})", "has no class_names");
  check_refused(R"({"kind":"start","vocabulary":16,"parts":1,"class_names":["a",2]})", "class_names has 2, expected");
}

TEST_SUITE_END();
