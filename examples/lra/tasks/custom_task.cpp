// Users' own texts: train.tsv, val.tsv and test.tsv, a line a text: its label, a tab, the text, which may have tabs. No
// header, no quotes, any bytes. A label is any name; the classes are the labels of train.tsv, in the order of their
// numbers where all of them are whole numbers, else of their bytes.
#include <algorithm>
#include <map>

#include "subquad/core/error.h"
#include "subquad/examples/lra/tasks/kinds.h"
#include "subquad/examples/lra/tasks/lines.h"
#include "subquad/examples/lra/tasks/texts.h"

namespace subquad::lra {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostClasses = 1000;  // more: text and label have been mistaken for each other

std::vector<ExpectedFile> expected(const std::string& folder) {
  std::vector<ExpectedFile> files;
  for (const char* name : {"train.tsv", "val.tsv", "test.tsv"})
    files.push_back({name, fs::exists(fs::path(folder) / name)});
  return files;
}

// Calls take(lines, label, text) for every line that is not empty.
template <class Take>
void read_rows(const fs::path& path, const Take& take) {
  LineReader lines(path);
  bool any = false;
  while (lines.next()) {
    if (lines.text().empty()) continue;
    const std::vector<std::string_view> fields = split_tabs(lines.text(), 2);
    if (fields.size() != 2) lines.fail(cat(quoted(lines.text()), " has no tab, expected a label, a tab and a text"));
    if (fields[0].empty()) lines.fail("the label is empty");
    if (fields[1].empty()) lines.fail("the text is empty");
    take(lines, std::string(fields[0]), fields[1]);
    any = true;
  }
  if (!any) throw FormatError(cat(path.string(), ": there is no text in it"));
}

void sort_labels(std::vector<std::string>& labels) {
  const auto number = [](const std::string& label) { return parse_whole(label); };
  const bool numbers = std::all_of(labels.begin(), labels.end(), number);
  std::sort(labels.begin(), labels.end(), [&](const std::string& a, const std::string& b) {
    return numbers && number(a) != number(b) ? *number(a) < *number(b) : a < b;
  });
}

std::vector<std::string> find_classes(const fs::path& path) {
  std::map<std::string, Index> counts;
  read_rows(path, [&](const LineReader& lines, const std::string& label, std::string_view) {
    ++counts[label];
    if (counts.size() > kMostClasses)
      lines.fail(cat("more than ", kMostClasses, " labels, the last one ", quoted(label),
                     "; expected a label, a tab and a text, in this order"));
  });
  std::vector<std::string> classes;
  for (const auto& [label, count] : counts) classes.push_back(label);
  if (classes.size() == 1)
    throw FormatError(cat(path.string(), ": every label is ", quoted(classes[0]), ", expected at least two classes"));
  sort_labels(classes);
  return classes;
}

Task load(const TaskSource& source) {
  const auto path = [&](const char* name) { return fs::path(source.folder) / name; };
  Task task;
  task.name = "custom";
  task.class_names = find_classes(path("train.tsv"));
  task.shape = {.vocabulary = kTextVocabulary, .classes = std::ssize(task.class_names)};
  std::map<std::string, std::int64_t> numbers;
  for (const std::string& name : task.class_names) numbers.emplace(name, std::ssize(numbers));

  TextCut cut(source.cut);
  const auto read = [&](const char* name) {
    Sequences set = texts();
    read_rows(path(name), [&](const LineReader& lines, const std::string& label, std::string_view text) {
      const auto found = numbers.find(label);
      if (found == numbers.end()) lines.fail(cat("label is ", quoted(label), ", which train.tsv does not have"));
      set.append_bytes({cut(text)}, found->second);
    });
    return set;
  };
  task.train = read("train.tsv");
  task.validation = read("val.tsv");
  task.test = read("test.tsv");
  task.notes = {cut.note()};
  return task;
}

}  // namespace

TaskKind custom_kind() {
  return {.name = "custom",
          .about = "classes of your own texts",
          .nominal = kTextLength,
          .texts = true,
          .in_lra = false,
          .origin = "write train.tsv, val.tsv and test.tsv, each line a label, a tab and a text",
          .expected = expected,
          .load = load};
}

}  // namespace subquad::lra
