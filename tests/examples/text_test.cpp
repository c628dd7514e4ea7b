// The task text: what its readers take and refuse, and how its sets are made.
#include <doctest/doctest.h>

#include "subquad/examples/lra/tasks/task.h"
#include "subquad/examples/lra/tasks/texts.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/load_refused.h"
#include "subquad/tests/examples/scratch_folder.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::check_load_refused;
using subquad::test::made_reviews;
using subquad::test::make_file;
using subquad::test::ScratchFolder;
using subquad::test::tsv_row;
using subquad::test::write_imdb_tree;
using subquad::test::write_imdb_tsv;

namespace fs = std::filesystem;

namespace {

// Films 9, 10 and 11 with four reviews each to train on, so 10 is for validation; 21 and 22 to test.
const std::vector<Review> kTraining = made_reviews(3, 4, 9, "a review");
const std::vector<Review> kTest = made_reviews(2, 2, 21, "another one");

struct Tsv {
  ScratchFolder folder;
  fs::path train = folder / "imdb_train.tsv", test = folder / "imdb_test.tsv";

  Tsv() {
    write_imdb_tsv(train, kTraining);
    write_imdb_tsv(test, kTest);
  }
};

struct Tree {
  ScratchFolder folder;
  fs::path root = folder / "aclImdb";

  Tree() {
    write_imdb_tree(root / "train", kTraining);
    write_imdb_tree(root / "test", kTest);
  }
};

TaskSource text_in(const fs::path& folder) {
  return {.task = "text", .folder = folder.string()};
}

std::string text_of(const Sequences& set, Index i) {
  const auto bytes = set.bytes(i);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("text: bytes + 1, and the films whose number divides by 10 are for validation") {
  const Tsv data;
  const Task task = load_task(text_in(data.folder / ""));
  CHECK_EQ(task.name, "text");
  CHECK_EQ(task.shape.vocabulary, 257);
  CHECK_EQ(task.shape.classes, 2);
  CHECK_EQ(task.class_names, std::vector<std::string>{"negative", "positive"});
  REQUIRE_EQ(task.train.size(), 8);
  REQUIRE_EQ(task.validation.size(), 4);
  REQUIRE_EQ(task.test.size(), 4);
  for (Index i = 0; i < 4; ++i) {
    const auto& held_out = kTraining[static_cast<std::size_t>(4 + i)];
    CHECK_EQ(text_of(task.validation, i), held_out.text);
    CHECK_EQ(task.validation.label(i), held_out.positive ? 1 : 0);
  }
  CHECK_EQ(text_of(task.train, 4), "a review 8");
  CHECK_EQ(task.train.token_list(0).front(), 'a' + 1);
  REQUIRE_EQ(task.notes.size(), 2);
  CHECK_EQ(
      task.notes[0],
      "validation is on the 4 training reviews of films whose number divides by 10; none of these films is trained "
      "on");
  CHECK_EQ(task.notes[1], "0 of 16 texts (0.0 %) are cut to their first 4000 bytes");
}

TEST_CASE("text: tsv and tree give the same task, whatever the tree's folder is called") {
  const Tsv tsv;
  const Tree tree;
  make_file(tree.root / "train" / "pos" / ".hidden", "not a review");
  const std::string expected = load_task(text_in(tsv.folder / "")).hash();
  CHECK_EQ(load_task(text_in(tree.folder / "")).hash(), expected);
  CHECK_EQ(load_task(text_in(tree.root)).hash(), expected);
}

TEST_CASE("text: a tree is read in the order of its ids, as numbers") {
  const Tree tree;
  const std::vector<Review> reviews = read_imdb((tree.folder / "").string(), "train");
  REQUIRE_EQ(reviews.size(), kTraining.size());
  for (std::size_t i = 0; i < reviews.size(); ++i) {
    CHECK_EQ(reviews[i].text, kTraining[i].text);
    CHECK_EQ(reviews[i].film, kTraining[i].film);
  }
  const ScratchFolder other;
  for (const char* name : {"pos/10_8.txt", "pos/9_8.txt", "neg/9_1.txt"}) make_file(other / "test" / name, name);
  const std::vector<Review> unknown = read_imdb((other / "").string(), "test");
  REQUIRE_EQ(unknown.size(), 3);
  CHECK_EQ(unknown[0].text, "pos/9_8.txt");
  CHECK_EQ(unknown[1].text, "neg/9_1.txt");
  CHECK_EQ(unknown[2].text, "pos/10_8.txt");
  CHECK_EQ(unknown[0].film, 0);
}

TEST_CASE("text: any bytes, tabs and Windows line ends") {
  const Tsv data;
  const std::string bytes("\xFF\xC3(\x00\x80 \ttab\t", 11);
  make_file(data.test, cat("\xEF\xBB\xBF", "1\t10\t0\t21\t", bytes, "\r\n\r\n", "0\t4\t0\t21\tb\r\n"));
  const Task task = load_task(text_in(data.folder / ""));
  REQUIRE_EQ(task.test.size(), 2);
  CHECK_EQ(text_of(task.test, 0), bytes);
  CHECK_EQ(task.test.token_list(0)[0], 256);
  CHECK_EQ(task.test.token_list(0)[3], 1);  // a byte 0 is a token, not padding
  CHECK_EQ(text_of(task.test, 1), "b");
}

TEST_CASE("text: --cut") {
  const Tsv data;
  make_file(data.test, cat("1\t7\t0\t21\t", std::string(5000, 'x'), "\n0\t4\t0\t21\t", std::string(4000, 'y'), '\n'));
  TaskSource source = text_in(data.folder / "");
  Task task = load_task(source);
  CHECK_EQ(task.longest(), 4000);
  CHECK_EQ(task.notes[1], "1 of 14 texts (7.1 %) are cut to their first 4000 bytes");
  source.cut = 3;
  task = load_task(source);
  CHECK_EQ(task.longest(), 3);
  CHECK_EQ(text_of(task.test, 1), "yyy");
  source.cut = 10'000;
  CHECK_EQ(load_task(source).longest(), 5000);
}

TEST_CASE("text: --paper-protocol validates on the test set, and says so") {
  const Tsv data;
  TaskSource source = text_in(data.folder / "");
  source.paper_protocol = true;
  const Task task = load_task(source);
  CHECK_EQ(task.train.size(), 12);
  CHECK_EQ(task.validation.hash(), task.test.hash());
  CHECK_EQ(task.notes[0],
           "validation is on the test set (--paper-protocol): scores are of a checkpoint chosen by them");
  fs::copy_file(data.train, data.test, fs::copy_options::overwrite_existing);
  check_load_refused<Error>(source, "the training set and the validation set are the same");
}

TEST_CASE("text: a tree without page lists needs --paper-protocol") {
  const Tree tree;
  fs::remove(tree.root / "test" / "urls_pos.txt");  // the test set's films do not matter
  CHECK_EQ(load_task(text_in(tree.folder / "")).validation.size(), 4);
  fs::remove(tree.root / "train" / "urls_neg.txt");
  TaskSource source = text_in(tree.folder / "");
  check_load_refused<Error>(source, "there is no aclImdb/train/urls_neg.txt, which says what films the reviews are of");
  check_load_refused<Error>(source, "--paper-protocol does without");
  source.paper_protocol = true;
  CHECK_EQ(load_task(source).train.size(), 12);
}

TEST_CASE("text: what a folder lacks") {
  const ScratchFolder empty;
  check_load_refused<Error>(text_in(empty / ""),
                            "there is no imdb_train.tsv; it comes as aclImdb_v1.tar.gz from https://");
  const Tsv tsv;
  fs::remove(tsv.test);
  check_load_refused<Error>(text_in(tsv.folder / ""), "there is no imdb_test.tsv; ");
  const Tree tree;
  fs::remove_all(tree.root / "test" / "neg");
  check_load_refused<Error>(text_in(tree.folder / ""), "there is no aclImdb/test/neg/; ");
  check_load_refused<Error>(text_in(tree.root), "there is no test/neg/; ");
}

TEST_CASE("text: broken lines of a tsv") {
  const Tsv data;
  const auto refused = [&](const std::string& row, const std::string& text) {
    CAPTURE(row);
    make_file(data.train, tsv_row(kTraining[0]) + row + "\n" + tsv_row(kTraining[1]));
    check_load_refused(text_in(data.folder / ""), cat(data.train.string(), ": line 2: ", text));
  };
  refused("1\t8\t0\t9", "4 fields, expected 5: label, rating, id, film and text with tabs between them");
  refused("a review", "1 field, expected 5");
  refused("2\t8\t0\t9\ta", "label is \"2\", expected 0 or 1");
  refused("\xFF\t8\t0\t9\ta", "label is \"\\ufffd\", expected 0 or 1");
  refused("1\t4\t0\t9\ta", "rating is 4, but a positive review has 7..10");
  refused("0\t7\t0\t9\ta", "rating is 7, but a negative review has 1..4");
  refused("1\t11\t0\t9\ta", "rating is 11");
  refused("1\teight\t0\t9\ta", "rating is \"eight\", expected a whole number");
  refused("1\t8\t-1\t9\ta", "id is \"-1\", expected a whole number");
  refused("1\t8\t0\t99999999999999999999\ta", "film is \"99999999999999999999\", expected a whole number");
  refused("1\t8\t0\t0\ta", "film is 0, expected the number of an IMDb page");
  refused("1\t8\t0\t9\t", "the text is empty");
}

TEST_CASE("text: broken sets") {
  const Tsv data;
  const TaskSource source = text_in(data.folder / "");
  make_file(data.train, "\n");
  check_load_refused(source, cat(data.train.string(), ": there is no review in it"));
  make_file(data.train, tsv_row(kTraining[0]) + tsv_row(kTraining[2]));
  check_load_refused(source, cat(data.train.string(), ": all 2 reviews are positive, expected both kinds"));
  write_imdb_tsv(data.train, made_reviews(2, 4, 11, "film"));
  check_load_refused<Error>(source, "none of its 8 training reviews are of films whose number divides by 10");
  write_imdb_tsv(data.train, made_reviews(1, 4, 10, "film"));
  check_load_refused<Error>(source, "all of its 4 training reviews are of films whose number divides by 10");
  write_imdb_tsv(data.train, kTest);
  check_load_refused<Error>(source, "none of its 4 training reviews");
}

TEST_CASE("text: broken trees") {
  const auto refused = [](const char* file, const char* content, const std::string& text) {
    const Tree tree;
    CAPTURE(file);
    make_file(tree.root / file, content);
    check_load_refused(text_in(tree.folder / ""), cat((tree.root / file).string(), ": ", text));
  };
  refused("train/pos/0_8.txt", "", "the file is empty, expected the text of a review");
  refused("train/pos/readme.txt", "a", "a file \"readme.txt\" among reviews, expected names such as 0_9.txt");
  refused("test/neg/0_2.html", "a", "a file \"0_2.html\" among reviews");
  refused("test/neg/1_.txt", "a", "a file \"1_.txt\" among reviews");
  refused("test/neg/0_8.txt", "a", "the rating in its name is 8, but a negative review has 1..4");
  refused("train/urls_pos.txt", "http://www.imdb.com/title/tt0009/usercomments\nhttp://www.imdb.com/\n",
          "line 2: \"http://www.imdb.com/\" is no film's page, expected an address with /title/tt0123456");
  refused("train/urls_pos.txt", "http://www.imdb.com/title/tt0000/\n", "line 1: ");
  refused("train/urls_neg.txt", "http://www.imdb.com/title/tt0009/usercomments\n",
          "1 lines, expected one for each review, but there is ");
  const Tree tree;
  fs::remove_all(tree.root / "test" / "pos");
  fs::create_directories(tree.root / "test" / "pos");
  check_load_refused(text_in(tree.folder / ""), cat((tree.root / "test").string(), ": all 2 reviews are negative"));
}

TEST_CASE("text: train_lra says at the start and in its report how validation was made") {
  const Tsv data;
  const subquad::test::Finished finished = subquad::test::train_lra::train({"--task",
                                                                            "text",
                                                                            "--data",
                                                                            (data.folder / "").string(),
                                                                            "--paper-protocol",
                                                                            "--out",
                                                                            (data.folder / "run").string(),
                                                                            "--max-length",
                                                                            "16",
                                                                            "--layers",
                                                                            "1",
                                                                            "--width",
                                                                            "8",
                                                                            "--heads",
                                                                            "2",
                                                                            "--feed-forward",
                                                                            "8",
                                                                            "--head-hidden",
                                                                            "8",
                                                                            "--steps",
                                                                            "1",
                                                                            "--threads",
                                                                            "1"});
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  CHECK_NE(finished.err.find("validation is on the test set (--paper-protocol)"), std::string::npos);
  CHECK_NE(finished.out.find("validation is on the test set (--paper-protocol)"), std::string::npos);
}

TEST_SUITE_END();
