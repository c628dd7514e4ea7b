#include "subquad/examples/lra/run_table.h"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/tests/examples/scratch_folder.h"
#include "subquad/tests/support/subprocess.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::ScratchFolder;

namespace fs = std::filesystem;

namespace {

const char* const kMetrics =
    R"({"kind":"start","task":"listops","model":"mixer","attention":"paramixer","parameters":123456,"data_hash":"ab"}
{"kind":"train","step":5,"loss":2.0,"accuracy":0.9}
{"kind":"validation","step":10,"loss":2.0,"accuracy":0.3125}
{"kind":"validation","step":20,"loss":2.0,"accuracy":0.25}
{"kind":"baseline","name":"majority class","validation":0.1875,"test":0.125}
{"kind":"test","checkpoint":"best","step":10,"loss":2.0,"accuracy":0.375}
{"kind":"test","checkpoint":"last","step":20,"loss":2.0,"accuracy":0.5}
)";
const char* const kTiming =
    R"({"kind":"session","step":0}
{"kind":"speed","step":5,"seconds":10.0,"tokens_per_second":100.0,"process_bytes":1048576}
{"kind":"speed","step":10,"seconds":60.0,"tokens_per_second":1500.0,"process_bytes":5242880}
{"kind":"session","step":10}
{"kind":"speed","step":20,"seconds":30.0,"tokens_per_second":1000.0,"process_bytes":3145728}
)";

void write_run(const fs::path& folder, const std::string& metrics, const std::string& timing) {
  fs::create_directories(folder / "checkpoints");
  std::ofstream(folder / "config.toml") << "";
  std::ofstream(folder / "metrics.jsonl") << metrics;
  std::ofstream(folder / "timing.jsonl") << timing;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("run table: what is read from a run") {
  const ScratchFolder scratch;
  write_run(scratch / "run", kMetrics, kTiming);
  const RunSummary run = read_run(scratch / "run");
  CHECK_EQ(run.attention, "paramixer");
  CHECK_EQ(run.validation.value(), 0.3125);
  CHECK_EQ(run.test.value(), 0.375);
  CHECK_EQ(run.minutes.value(), 1.5);
  CHECK_EQ(run.tokens_per_second.value(), 1000);
  CHECK_EQ(run.peak_bytes.value(), 5 << 20);
  std::ostringstream out;
  print_run_table({run}, out);
  CHECK_EQ(out.str(),
           "  attention           model    parameters  validation    test  tokens/s  peak MiB  minutes\n"
           "  paramixer           mixer        123456      0.3125  0.3750      1.0k         5      1.5\n"
           "  majority class                               0.1875  0.1250\n");
}

TEST_CASE("run table: a run that is not through, and half a line at its end") {
  const ScratchFolder scratch;
  const std::string whole = kMetrics;
  write_run(scratch / "run", whole.substr(0, whole.find("{\"kind\":\"baseline")) + "{\"kind\":\"te", kTiming);
  const RunSummary run = read_run(scratch / "run");
  CHECK_FALSE(run.test.has_value());
  std::ostringstream out;
  print_run_table({run}, out);
  CHECK_NE(out.str().find("0.3125       -"), std::string::npos);
  write_run(scratch / "run", "{\"kind\":\"st\n" + whole, kTiming);
  CHECK_THROWS_WITH_AS(read_run(scratch / "run"), doctest::Contains("metrics.jsonl: line 1 is no JSON object"),
                       FormatError);
  write_run(scratch / "run", "", "");
  CHECK_THROWS_WITH_AS(read_run(scratch / "run"), doctest::Contains("there is no record of a start"), Error);
  CHECK_THROWS_AS(read_run(scratch / "none"), Error);
}

TEST_CASE("run table: runs on different data are not compared") {
  using std::string;
  const RunSummary a = {.folder = string("runs/a"), .attention = string("softmax"), .data_hash = string("1")};
  const RunSummary b = {.folder = string("runs/b"), .attention = string("local"), .data_hash = string("2")};
  std::ostringstream out;
  CHECK_THROWS_WITH_AS(print_run_table({a, b}, out),
                       "runs/a (softmax) and runs/b (local) saw different data: hash 1 and 2", Error);
}

TEST_CASE("run table: what was not measured is no 0, and runs of one attention are told apart") {
  const ScratchFolder scratch;
  write_run(scratch / "run", kMetrics, "");
  fs::remove(scratch / "run" / "timing.jsonl");
  RunSummary first = read_run(scratch / "run");
  RunSummary second = first;
  first.folder = std::string("runs/first");
  second.folder = std::string("b");
  std::ostringstream out;
  print_run_table({first, second}, out);
  CHECK_EQ(out.str(),
           "  folder      attention           model    parameters  validation    test  tokens/s  peak MiB  minutes\n"
           "  runs/first  paramixer           mixer        123456      0.3125  0.3750         -         -        -\n"
           "  b           paramixer           mixer        123456      0.3125  0.3750         -         -        -\n"
           "              majority class                               0.1875  0.1250\n");
  write_run(scratch / "run", kMetrics, "{\"kind\":\"speed\",\"seconds\":60.0,\"tokens_per_second\":5.0}\n");
  const RunSummary older = read_run(scratch / "run");  // by a program that did not count bytes
  CHECK_EQ(older.minutes.value(), 1);
  CHECK_FALSE(older.peak_bytes.has_value());
}

TEST_CASE("run table: a field of another type is named with file and line") {
  const ScratchFolder scratch;
  const auto fails = [&](const std::string& metrics, const std::string& timing, const char* text) {
    write_run(scratch / "run", metrics, timing);
    CHECK_THROWS_WITH_AS(read_run(scratch / "run"), doctest::Contains(text), FormatError);
  };
  fails("{\"kind\":\"start\",\"attention\":7}\n", kTiming, "metrics.jsonl: line 1: attention is 7, expected a text");
  fails(std::string(kMetrics) + "{\"kind\":\"validation\",\"accuracy\":null}\n", kTiming,
        "metrics.jsonl: line 8: accuracy is null, expected a number");
  fails(kMetrics, "{\"kind\":\"session\"}\n{\"kind\":\"speed\",\"seconds\":\"long\"}\n",
        "timing.jsonl: line 2: seconds is \"long\", expected a number");
}

TEST_CASE("compare_runs: as a program") {
  const ScratchFolder scratch;
  write_run(scratch / "run", kMetrics, kTiming);
  const test::Finished table =
      test::run_program("compare_runs", {(scratch / "run").string(), (scratch / "run").string()});
  CHECK_EQ(table.status, 0);
  CHECK_NE(table.out.find("majority class"), std::string::npos);
  CHECK_EQ(test::run_program("compare_runs", {}).status, 2);
  const std::string none = (scratch / "none").string();
  const test::Finished missing = test::run_program("compare_runs", {none});
  CHECK_EQ(missing.status, 1);
  CHECK_EQ(missing.err, cat("compare_runs: ", none, ": there is no such folder\n"));
}

TEST_SUITE_END();
