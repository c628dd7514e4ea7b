#include "subquad/examples/lra/check_data.h"

#include <doctest/doctest.h>

#include <sstream>

#include "subquad/core/error.h"
#include "subquad/tests/examples/train_lra_runs.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::TemporaryFolder;
using subquad::test::write_text;

namespace fs = std::filesystem;

namespace {

const std::string kAllDigits = "0\t0\n1\t1\n2\t2\n3\t3\n4\t4\n5\t5\n6\t6\n7\t7\n8\t8\n9\t9\n";

void write_listops_folder(const fs::path& folder, const std::string& train, const std::string& validation = "3\t3\n",
                          const std::string& test = "[MAX 2 9 ]\t9\n9\t9\n") {
  write_text(folder / "basic_train.tsv", "Source\tTarget\n" + train);
  write_text(folder / "basic_val.tsv", "Source\tTarget\n" + validation);
  write_text(folder / "basic_test.tsv", "Source\tTarget\n" + test);
}

std::string checked(const fs::path& folder, Index max_length = 2000) {
  std::ostringstream out;
  lra::check_data({.task = "listops", .folder = folder.string()}, max_length, out);
  return out.str();
}

Finished run_check(const fs::path& folder, const Args& more = {}) {
  Args args = {"--data", folder.string(), "--check-data"};
  args.insert(args.end(), more.begin(), more.end());
  return train(args);
}

void check_has(const std::string& text, const std::string& part) {
  CAPTURE(text);
  CHECK_NE(text.find(part), std::string::npos);
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("check_data: files, lengths, classes and hash") {
  const TemporaryFolder folder;
  write_listops_folder(folder.path(), kAllDigits + "[MAX 2 9 [MIN 4 7 ] 0 ]\t9\n");
  const std::string text = checked(folder.path());
  const std::string hash = lra::load_task({.task = "listops", .folder = folder.path().string()}).hash();
  CHECK_EQ(text,
           "listops: values of nested lists of digits; at 2000 tokens in Long Range Arena\n"
           "files in " +
               folder.path().string() +
               "\n"
               "  basic_train.tsv        80 bytes\n"
               "  basic_val.tsv          18 bytes\n"
               "  basic_test.tsv         31 bytes\n"
               "how to get them: make_data --task listops --out NEW --seed 1\n"
               "\n"
               "  set                        samples mean length    shortest         5 %        50 %        95 %     "
               "longest\n"
               "  training                        11         1.7           1           1           1           9       "
               "    9\n"
               "  validation                       1         1.0           1           1           1           1       "
               "    1\n"
               "  test                             2         2.5           1           1           1           4       "
               "    4\n"
               "\n"
               "  class                     training  validation        test\n"
               "  0                                1           0           0\n"
               "  1                                1           0           0\n"
               "  2                                1           0           0\n"
               "  3                                1           1           0\n"
               "  4                                1           0           0\n"
               "  5                                1           0           0\n"
               "  6                                1           0           0\n"
               "  7                                1           0           0\n"
               "  8                                1           0           0\n"
               "  9                                2           0           2\n"
               "\n"
               "listops is complete: vocabulary 16, 10 classes, hash " +
               hash + "\n");
}

TEST_CASE("load_task: the folder of another task is recognised by its files") {
  const auto same_files = [](const std::string& a, const std::string& b) {
    return a == b || (a == "text" && b == "imdb-pairs") || (a == "imdb-pairs" && b == "text");
  };
  for (const lra::TaskKind& owner : lra::task_kinds()) {
    const TemporaryFolder folder;
    for (const lra::ExpectedFile& file : owner.expected(folder.path().string())) {
      if (owner.name == "pathfinder" || owner.name == "path-x")
        fs::create_directories(folder / file.path);
      else
        write_text(folder / file.path, "");
    }
    for (const std::string& task : lra::task_names()) {
      if (same_files(task, owner.name)) continue;
      CAPTURE(owner.name);
      CAPTURE(task);
      const std::string named = owner.name == "imdb-pairs" ? "text" : owner.name;
      CHECK_THROWS_WITH_AS(lra::load_task({.task = task, .folder = folder.path().string()}),
                           doctest::Contains(cat("; these are the files of --task ", named).c_str()), Error);
    }
  }
}

TEST_CASE("load_task: sets within each other are refused, in whatever order") {
  const TemporaryFolder folder;
  const auto sets = [&](const std::string& train, const std::string& validation, const std::string& test) {
    write_text(folder / "train.tsv", train);
    write_text(folder / "val.tsv", validation);
    write_text(folder / "test.tsv", test);
    return lra::load_task({.task = "custom", .folder = folder.path().string()});
  };
  const std::string train = "a\tx\nb\ty\n";
  const auto refused = [&](const std::string& validation, const std::string& test, const char* text) {
    CHECK_THROWS_WITH_AS(sets(train, validation, test), doctest::Contains(text), Error);
  };
  refused("a\tv\nb\tw\n", "b\tw\na\tv\n", "the validation set and the test set are the same");
  refused("a\tv\nb\tw\n", "a\tz\nb\tw\na\tv\n", "every sample of the validation set is in the test set, too");
  refused("a\tz\nb\tw\na\tv\n", "a\tv\nb\tw\n", "every sample of the test set is in the validation set, too");
  refused("b\ty\na\tx\n", "a\tv\nb\tw\n", "the training set and the validation set are the same");
  refused("a\tv\nb\tw\n", "b\ty\na\tz\na\tx\n", "every sample of the training set is in the test set, too");
  CHECK_EQ(sets(train, "a\tv\nb\tw\n", "a\tv\nb\tv\n").test.size(), 2);  // another label makes another sample
}

TEST_CASE("load_task: so many samples of each set, the same for every reader of a set") {
  const TemporaryFolder folder;
  std::string rows;
  for (int i = 0; i < 200; ++i)
    rows += cat("[SM ", i % 10, " ", i / 10 % 10, " ", i / 100, " ]\t", (i % 10 + i / 10 % 10 + i / 100) % 10, "\n");
  write_listops_folder(folder.path(), rows);
  lra::TaskSource source = {.task = "listops", .folder = folder.path().string()};
  const lra::Task all = lra::load_task(source);
  source.train_samples = 40;
  source.test_samples = 1;
  const lra::Task some = lra::load_task(source);
  REQUIRE_EQ(some.train.size(), 40);
  CHECK_EQ(some.validation.size(), 1);
  CHECK_EQ(some.test.size(), 1);
  CHECK_EQ(some.notes.at(all.notes.size()),
           "of the 200 samples of the training set, 40 are used, drawn at random, the same for every seed");
  CHECK_EQ(some.notes.at(all.notes.size() + 1),
           "of the 2 samples of the test set, 1 is used, drawn at random, the same for every seed");
  CHECK_EQ(some.hash(), lra::load_task(source).hash());
  CHECK_NE(some.hash(), all.hash());
  Index at = 0, early = 0;  // each is one of all, in their order, with its label
  for (Index i = 0; i < some.train.size(); ++i, ++at) {
    while (at < all.train.size() && all.train.token_list(at) != some.train.token_list(i)) ++at;
    REQUIRE_LT(at, all.train.size());
    CHECK_EQ(some.train.label(i), all.train.label(at));
    if (at < 100) ++early;
  }
  CHECK_GT(early, 8);  // 20 are expected, with a standard deviation of 2.8
  CHECK_LT(early, 32);

  source.train_samples = 201;
  CHECK_THROWS_WITH_AS(lra::load_task(source), "--train-samples 201: the training set has 200 samples", Error);
  source.train_samples = 200;
  source.test_samples = 0;
  CHECK_EQ(lra::load_task(source).hash(), all.hash());
  CHECK_EQ(lra::load_task(source).notes, all.notes);
}

TEST_CASE("check_data: sequences that a model of max-length positions would refuse") {
  const TemporaryFolder folder;
  write_listops_folder(folder.path(), kAllDigits + "[MAX 2 9 [MIN 4 7 ] 0 ]\t9\n");
  CHECK_EQ(checked(folder.path(), 9).find("longer"), std::string::npos);
  check_has(checked(folder.path(), 8),
            "note: 1 of 14 sequences are longer than --max-length 8, up to 9 tokens: training would refuse them\n");
  check_has(checked(folder.path(), 3), "note: 2 of 14 sequences are longer than --max-length 3, up to 9 tokens");
  const Bench bench;
  check_has(run_check(bench.data, {"--max-length", "5"}).out, " sequences are longer than --max-length 5, up to 12 ");
}

TEST_CASE("check_data: only Long Range Arena's tasks are said to be in it") {
  const TemporaryFolder folder;
  write_text(folder / "train.tsv", "a\tx\nb\ty\n");
  write_text(folder / "val.tsv", "a\tz\n");
  write_text(folder / "test.tsv", "b\tw\n");
  const Finished finished = run_check(folder.path(), {"--task", "custom"});
  CHECK_EQ(finished.status, 0);
  check_has(finished.out, "custom: classes of your own texts; not a task of Long Range Arena\n");
  for (const lra::TaskKind& kind : lra::task_kinds())
    CHECK_EQ(kind.in_lra, kind.name != "custom" && kind.name != "imdb-pairs");
}

TEST_CASE("train_lra --check-data: needs no run folder, and ends with 0 when all is there") {
  const Bench bench;
  const Finished finished = run_check(bench.data);
  CHECK_EQ(finished.status, 0);
  CHECK_EQ(finished.err, "");
  check_has(finished.out, "listops is complete: vocabulary 16, 10 classes, hash ");
  check_fails({"--check-data"}, 2, "--data is required");
  check_fails({"--check-data", "--resume", bench.run("run")}, 2, "--check-data does not go with --resume");
}

TEST_CASE("train_lra --check-data: what is missing or wrong, as training says it") {
  const TemporaryFolder folder;
  const auto check_wrong = [&](const std::string& listed, const Args& more = {}) {
    const Finished found = run_check(folder.path(), more);
    CHECK_EQ(found.status, 1);
    check_has(found.out, listed);
    CHECK_EQ(found.out.find("complete"), std::string::npos);
    Args args = {"--data", folder.path().string(), "--out", (folder / "run").string()};
    args.insert(args.end(), more.begin(), more.end());
    CHECK_EQ(train(args).err, found.err);
    CHECK_FALSE(fs::exists(folder / "run"));
    return found.err;
  };
  write_listops_folder(folder.path(), kAllDigits);
  fs::remove(folder / "basic_val.tsv");
  check_has(check_wrong("  basic_val.tsv          missing\n"),
            "there is no basic_val.tsv; make all of it in a new folder and give that as --data: make_data");

  write_listops_folder(folder.path(), kAllDigits + "[MAX 2 9 ]\t8\n");
  check_has(check_wrong("  basic_train.tsv        67 bytes\n"), "line 12: label is 8, but the expression gives 9");

  write_listops_folder(folder.path(), kAllDigits, "");
  check_has(check_wrong("  basic_val.tsv          14 bytes\n"), "basic_val.tsv: line 1: no expression follows");

  write_listops_folder(folder.path(), kAllDigits, kAllDigits);
  check_has(check_wrong(""), "the training set and the validation set are the same");

  write_listops_folder(folder.path(), "0\t0\n1\t1\n2\t2\n");
  check_has(check_wrong(""), "no sample of the training set has class 3 (3), expected all 10 classes");

  check_has(check_wrong("  data_batch_1.bin       missing\n", {"--task", "image"}),
            "there is no data_batch_1.bin; these are the files of --task listops");

  const Finished none = run_check(folder / "none");
  CHECK_EQ(none.status, 1);
  check_has(none.err, "there is no such folder; make it with: make_data --task listops --out ");
}

TEST_SUITE_END();
