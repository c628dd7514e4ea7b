#include "subquad/tests/examples/train_lra_runs.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "subquad/examples/lra/tasks/listops_tsv.h"
#include "subquad/tests/support/device.h"

namespace subquad::test::train_lra {

namespace fs = std::filesystem;

void write_data(const fs::path& folder) {
  fs::create_directories(folder);
  const std::vector<lra::Sequences> sets = lra::generate_listops(7, {60, 20, 20}, {.min_length = 3, .max_length = 13});
  lra::write_listops(folder / "basic_train.tsv", sets[0]);
  lra::write_listops(folder / "basic_val.tsv", sets[1]);
  lra::write_listops(folder / "basic_test.tsv", sets[2]);
}

Args Bench::args(const std::string& name, const Args& more) const {
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

std::string program() {
  return interpreted() ? "train_lra_simt" : "train_lra";
}

Finished train(const Args& args) {
  return run_program(program(), args);
}

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
  for (int tries = 0; tries < 30000; ++tries) {  // 5 minutes: sanitizers beside other work are slow
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

}  // namespace subquad::test::train_lra
