#include "subquad/examples/lra/tasks/task.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <sstream>
#include <string_view>

#include "subquad/core/error.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/make_command.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

// A number a sample, in order of size: equal samples have equal numbers.
std::vector<std::size_t> sample_hashes(const Sequences& set) {
  std::vector<std::size_t> hashes;
  hashes.reserve(static_cast<std::size_t>(set.size()));
  for (Index i = 0; i < set.size(); ++i) {
    auto hash = static_cast<std::size_t>(set.label(i));
    for (Index part = 0; part < set.parts(); ++part) {
      const std::span<const std::uint8_t> bytes = set.bytes(i, part);
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      hash = hash * 0x9e3779b97f4a7c15U + std::hash<std::string_view>()(text);
    }
    hashes.push_back(hash);
  }
  std::sort(hashes.begin(), hashes.end());
  return hashes;
}

// What was trained on, or chosen by, measures nothing, in whatever order it stands.
void refuse_copies(const TaskSource& source, const Task& task) {
  const std::vector<std::size_t> train = sample_hashes(task.train), validation = sample_hashes(task.validation),
                                 test = sample_hashes(task.test);
  const auto refuse_within = [&](const auto& a, const char* a_name, const auto& b, const char* b_name) {
    if (a == b)
      throw Error(cat("--data ", source.folder, ": the ", a_name, " set and the ", b_name, " set are the same"));
    if (!a.empty() && std::includes(b.begin(), b.end(), a.begin(), a.end()))
      throw Error(
          cat("--data ", source.folder, ": every sample of the ", a_name, " set is in the ", b_name, " set, too"));
  };
  refuse_within(train, "training", validation, "validation");
  refuse_within(train, "training", test, "test");
  if (source.paper_protocol) return;
  refuse_within(validation, "validation", test, "test");
  refuse_within(test, "test", validation, "validation");
}

// No model learns what it is never shown.
void refuse_gaps(const TaskSource& source, const Task& task) {
  const auto refuse = [&](const std::string& what) { throw Error(cat("--data ", source.folder, ": ", what)); };
  if (task.train.size() == 0) refuse("the training set is empty");
  if (task.validation.size() == 0) refuse("the validation set is empty");
  if (task.test.size() == 0) refuse("the test set is empty");
  const std::vector<Index> counts = label_counts(task.train, task.shape.classes);
  for (std::size_t label = 0; label < counts.size(); ++label)
    if (counts[label] == 0)
      refuse(cat("no sample of the training set has class ", label, " (", task.class_names[label], "), expected all ",
                 counts.size(), " classes"));
}

// Leaves `count` samples of a set; all of them where it is 0.
void draw(Index count, const char* option, const char* name, Sequences& set, std::vector<std::string>& notes) {
  const Index all = set.size();
  if (count > all) throw Error(cat("--", option, " ", count, ": the ", name, " set has ", all, " samples"));
  if (count == 0 || count == all) return;
  set = set.drawn(count);
  notes.push_back(cat("of the ", all, " samples of the ", name, " set, ", count, count == 1 ? " is" : " are",
                      " used, drawn at random, the same for every seed"));
}

// "" or the task whose files are all there.
std::string other_task(const TaskKind& kind, const std::string& folder) {
  for (const TaskKind& other : task_kinds()) {
    const std::vector<ExpectedFile> files = other.expected(folder);
    const bool complete =
        std::all_of(files.begin(), files.end(), [](const ExpectedFile& file) { return file.present; });
    if (other.name != kind.name && !files.empty() && complete) return other.name;
  }
  return "";
}

// How to come by what a folder lacks.
std::string advice(const TaskKind& kind, const TaskSource& source, const std::string& new_folder) {
  if (!kind.generated) return kind.origin;
  const char* how = new_folder == "NEW" ? "make all of it in a new folder and give that as --data" : "make it with";
  return cat(how, ": ", make_command(kind, source, new_folder));
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

const std::vector<TaskKind>& task_kinds() {
  static const std::vector<TaskKind> kinds = {listops_kind(),    text_kind(),   retrieval_kind(),  image_kind(),
                                              pathfinder_kind(), path_x_kind(), imdb_pairs_kind(), custom_kind()};
  return kinds;
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const TaskKind& kind : task_kinds()) names.push_back(kind.name);
  return names;
}

const TaskKind& task_kind(const std::string& name) {
  for (const TaskKind& kind : task_kinds())
    if (kind.name == name) return kind;
  throw Error(cat("unknown task '", name, "'"));
}

Task load_task(const TaskSource& source) {
  const TaskKind& kind = task_kind(source.task);
  if (fs::exists(source.folder) && !fs::is_directory(source.folder))
    throw Error(cat("--data ", source.folder, ": this is a file, expected the folder with the task's files"));
  if (!fs::is_directory(source.folder))
    throw Error(cat("--data ", source.folder, ": there is no such folder; ", advice(kind, source, source.folder)));
  for (const ExpectedFile& file : kind.expected(source.folder)) {
    if (file.present) continue;
    const std::string other = other_task(kind, source.folder);
    throw Error(cat("--data ", source.folder, ": there is no ", file.path, "; ",
                    other.empty() ? advice(kind, source, "NEW") : "these are the files of --task " + other));
  }
  Task task = kind.load(source);
  refuse_gaps(source, task);
  refuse_copies(source, task);
  draw(source.train_samples, "train-samples", "training", task.train, task.notes);
  draw(source.validation_samples, "validation-samples", "validation", task.validation, task.notes);
  draw(source.test_samples, "test-samples", "test", task.test, task.notes);
  return task;
}

}  // namespace subquad::lra
