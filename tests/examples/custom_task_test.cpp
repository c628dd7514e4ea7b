// The task custom: users' own texts.
#include <doctest/doctest.h>

#include "subquad/examples/lra/tasks/task.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/load_refused.h"
#include "subquad/tests/examples/scratch_folder.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::make_file;
using subquad::test::ScratchFolder;

namespace fs = std::filesystem;

namespace {

struct Own {
  ScratchFolder folder;
  fs::path train = folder / "train.tsv", val = folder / "val.tsv", test = folder / "test.tsv";
  TaskSource source = {.task = "custom", .folder = (folder / "").string()};

  Own() {
    make_file(train, "ham\tdear\tfriend\r\nspam\t\xFF!\nham\tyours\n\n");
    make_file(val, "spam\tnow\n");
    make_file(test, "ham\tthen\n");
  }
};

template <class E = FormatError>
void check_refused(const Own& data, const std::string& text) {
  subquad::test::check_load_refused<E>(data.source, text);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("custom: labels are names, texts are bytes") {
  const Own data;
  const Task task = load_task(data.source);
  CHECK_EQ(task.class_names, std::vector<std::string>{"ham", "spam"});
  CHECK_EQ(task.shape.classes, 2);
  CHECK_EQ(task.shape.vocabulary, 257);
  REQUIRE_EQ(task.train.size(), 3);
  CHECK_EQ(task.train.label(0), 0);
  CHECK_EQ(task.train.label(1), 1);
  const auto bytes = task.train.bytes(0);
  CHECK_EQ(std::string(bytes.begin(), bytes.end()), "dear\tfriend");
  CHECK_EQ(task.train.token_list(1), std::vector<Token>{256, '!' + 1});
  CHECK_EQ(task.validation.label(0), 1);
  CHECK_EQ(task.test.label(0), 0);
  CHECK_EQ(task.notes[0], "0 of 5 texts (0.0 %) are cut to their first 4000 bytes");
}

TEST_CASE("custom: whole numbers are sorted as numbers, and need not begin at 0") {
  const Own data;
  make_file(data.train, "10\ta\n9\tb\n2\tc\n");
  make_file(data.val, "9\tnow\n");
  make_file(data.test, "10\tthen\n");
  const Task task = load_task(data.source);
  CHECK_EQ(task.class_names, std::vector<std::string>{"2", "9", "10"});
  CHECK_EQ(task.train.label(0), 2);
  CHECK_EQ(task.validation.label(0), 1);
}

TEST_CASE("custom: --cut") {
  Own data;
  data.source.cut = 4;
  const Task task = load_task(data.source);
  CHECK_EQ(task.longest(), 4);
  CHECK_EQ(task.notes[0], "2 of 5 texts (40.0 %) are cut to their first 4 bytes");
}

TEST_CASE("custom: what is refused") {
  const Own data;
  const auto refused = [&](const fs::path& path, const std::string& text, const std::string& expected) {
    CAPTURE(text);
    const std::string before = subquad::test::read_text(path);
    make_file(path, text);
    check_refused(data, cat(path.string(), ": ", expected));
    make_file(path, before);
  };
  refused(data.train, "ham\ta\njust a text\n",
          "line 2: \"just a text\" has no tab, expected a label, a tab and a text");
  refused(data.train, "ham\ta\n\tb\n", "line 2: the label is empty");
  refused(data.val, "ham\ta\nspam\t\n", "line 2: the text is empty");
  refused(data.test, "ham\ta\negg\tb\n", "line 2: label is \"egg\", which train.tsv does not have");
  refused(data.train, "ham\ta\nham\tb\n", "every label is \"ham\", expected at least two classes");
  refused(data.train, "", "there is no text in it");
  refused(data.val, "\n", "there is no text in it");
  std::string swapped;
  for (int i = 0; i <= 1000; ++i) swapped += cat("text ", i, "\tham\n");
  refused(data.train, swapped, "line 1001: more than 1000 labels, the last one \"text 1000\"");
  fs::remove(data.val);
  check_refused<Error>(data, "there is no val.tsv; write train.tsv, val.tsv and test.tsv, each line a label, a tab");
}

TEST_SUITE_END();
