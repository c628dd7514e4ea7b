#include "subquad/examples/lra/task.h"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/listops_tsv.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

Task load_listops(const TaskSource& source) {
  const auto read = [&](const char* set) {
    const fs::path path = fs::path(source.folder) / cat("basic_", set, ".tsv");
    if (!fs::exists(path))
      throw Error(
          cat("--data ", source.folder, ": there is no ", path.filename().string(),
              "; make all of it in a new folder and give that as --data: make_data --task listops --out NEW --seed 1"));
    return read_listops(path, {.drop_brackets = source.drop_brackets});
  };
  Task task;
  task.name = source.drop_brackets ? "listops without brackets" : "listops";
  task.vocabulary = kListopsVocabulary;
  task.classes = kListopsClasses;
  task.train = read("train");
  task.validation = read("val");
  task.test = read("test");
  task.first_token = "root operator";
  for (Token token = 0; token < kListopsVocabulary; ++token) task.token_names.emplace_back(listops_token_text(token));
  return task;
}

// Sets that are copies of each other measure nothing.
void refuse_copies(const TaskSource& source, const Task& task) {
  const auto refuse = [&](const Sequences& a, const char* a_name, const Sequences& b, const char* b_name) {
    if (a.size() == b.size() && a.hash() == b.hash())
      throw Error(cat("--data ", source.folder, ": the ", a_name, " set and the ", b_name, " set are the same"));
  };
  refuse(task.train, "training", task.validation, "validation");
  refuse(task.train, "training", task.test, "test");
  refuse(task.validation, "validation", task.test, "test");
}

}  // namespace

std::string Task::hash() const {
  // Factors, so that equal sets do not cancel.
  const std::uint64_t all = train.hash() ^ (validation.hash() * 3) ^ (test.hash() * 5);
  std::ostringstream digits;
  digits << std::hex << std::setw(16) << std::setfill('0') << all;
  return digits.str();
}

Index Task::longest() const {
  return std::max({train.longest(), validation.longest(), test.longest()});
}

std::vector<std::string> task_names() {
  return {"listops"};
}

Task load_task(const TaskSource& source) {
  if (fs::exists(source.folder) && !fs::is_directory(source.folder))
    throw Error(cat("--data ", source.folder, ": this is a file, expected the folder with the task's files"));
  if (!fs::is_directory(source.folder))
    throw Error(cat("--data ", source.folder, ": there is no such folder; make it with: make_data --task ", source.task,
                    " --out ", source.folder, " --seed 1"));
  if (source.task != "listops") throw Error(cat("load_task: unknown task '", source.task, "'"));
  Task task = load_listops(source);
  refuse_copies(source, task);
  return task;
}

}  // namespace subquad::lra
