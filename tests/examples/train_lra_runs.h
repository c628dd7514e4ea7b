// What the tests of train_lra share: data and options of a model so small that a run takes well under a second, and
// what a run leaves behind.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "subquad/core/shape.h"
#include "subquad/tests/examples/scratch_folder.h"
#include "subquad/tests/support/subprocess.h"

namespace subquad::test::train_lra {

using Args = std::vector<std::string>;

void write_data(const std::filesystem::path& folder);

// A folder with data, and how to train on it.
struct Bench {
  ScratchFolder scratch;
  std::string data = (scratch / "data").string();

  Bench() { write_data(data); }

  std::string run(const std::string& name) const { return (scratch / name).string(); }

  // Those of a tiny model, where `more` does not give others.
  Args args(const std::string& name, const Args& more = {}) const;
};

// train_lra itself, or the one whose CUDA kernels run on the interpreter.
std::string program();

Finished train(const Args& args);

// The program must fail with `status`, and say `text` on stderr.
void check_fails(const Args& args, int status, const std::string& text);

// The lines of its metrics.jsonl; none before there is one.
std::vector<nlohmann::json> records(const std::filesystem::path& run);

void wait_for_step(const std::filesystem::path& run, Index step);

// Same records, same bytes of the last and of the best checkpoint.
void check_same_run(const std::filesystem::path& a, const std::filesystem::path& b, const std::string& last_checkpoint);

}  // namespace subquad::test::train_lra
