// The tasks of pairs: imdb-pairs, drawn from film reviews, and retrieval, read from LRA's files.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "subquad/examples/lra/tasks/imdb_pairs.h"
#include "subquad/tests/examples/imdb_data.h"
#include "subquad/tests/examples/load_refused.h"
#include "subquad/tests/examples/scratch_folder.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::check_load_refused;
using subquad::test::Finished;
using subquad::test::made_reviews;
using subquad::test::make_file;
using subquad::test::ScratchFolder;
using subquad::test::write_imdb_tsv;
using subquad::test::train_lra::Args;
using subquad::test::train_lra::check_fails;
using subquad::test::train_lra::records;

namespace fs = std::filesystem;

namespace {

std::string text_of(const Sequences& set, Index i, Index part) {
  const auto bytes = set.bytes(i, part);
  return {bytes.begin(), bytes.end()};
}

TaskSource source_of(const char* task, const fs::path& folder) {
  return {.task = task, .folder = folder.string()};
}

struct Aan {
  ScratchFolder folder;
  fs::path train = folder / "new_aan_pairs.train.tsv";

  Aan() {
    make_file(train, "0.0\tA1\tA2\tone\ttwo\n1.0\tA3\tA4\tthree\tfour\n");
    make_file(folder / "new_aan_pairs.eval.tsv", "1\tB1\tB2\tfive\tsix\n0\tB3\tB4\tseven\teight\n");
    make_file(folder / "new_aan_pairs.test.tsv", "1.0\tC1\tC2\tnine\tten\n0.0\tC3\tC4\televen\t\n");
  }
};

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("imdb-pairs: pairs are different, of one film and of two") {
  const std::vector<Review> reviews = made_reviews(12, 7, 1, "review");
  const ReviewPairs pairs = draw_pairs(reviews, 150, 1);
  REQUIRE_EQ(pairs.same.size(), 150);
  REQUIRE_EQ(pairs.different.size(), 150);
  std::set<std::pair<std::size_t, std::size_t>> same, different;
  for (std::size_t i = 0; i < pairs.same.size(); ++i) {
    const ReviewPair& s = pairs.same[i];
    const ReviewPair& d = pairs.different[i];
    CHECK_NE(s.first, s.second);
    CHECK_EQ(reviews[s.first].film, reviews[s.second].film);
    CHECK_NE(reviews[d.first].film, reviews[d.second].film);
    CHECK_EQ(reviews[s.first].positive, reviews[d.first].positive);
    CHECK_EQ(reviews[s.second].positive, reviews[d.second].positive);
    same.insert(std::minmax(s.first, s.second));
    different.insert({d.first, d.second});
  }
  CHECK_EQ(same.size(), 150);
  CHECK_EQ(different.size(), 150);
}

TEST_CASE("imdb-pairs: a single review says nothing about its pair") {
  const std::vector<Review> reviews = made_reviews(12, 7, 1, "review");
  const ReviewPairs pairs = draw_pairs(reviews, 150, 2);
  std::map<std::size_t, Index> firsts, seconds;  // how much oftener in pairs of one film
  for (std::size_t i = 0; i < pairs.same.size(); ++i) {
    ++firsts[pairs.same[i].first];
    --firsts[pairs.different[i].first];
    ++seconds[pairs.same[i].second];
    --seconds[pairs.different[i].second];
  }
  for (const auto& [review, surplus] : firsts) CHECK_EQ(surplus, 0);
  for (const auto& [review, surplus] : seconds) CHECK_EQ(surplus, 0);
}

TEST_CASE("imdb-pairs: a function of the seed") {
  const std::vector<Review> reviews = made_reviews(12, 7, 1, "review");
  const auto firsts = [&](std::uint64_t seed) {
    std::vector<std::size_t> numbers;
    for (const ReviewPair& pair : draw_pairs(reviews, 40, seed).different) numbers.push_back(pair.second);
    return numbers;
  };
  CHECK_EQ(firsts(1), firsts(1));
  CHECK_NE(firsts(1), firsts(2));
}

TEST_CASE("imdb-pairs: all pairs there are, but for equal texts, and no more") {
  std::vector<Review> reviews = made_reviews(4, 4, 1, "review");
  reviews[1].text = reviews[0].text;  // of one film, so 23 pairs of 4 * 6
  CHECK_EQ(draw_pairs(reviews, 0, 1).same.size(), 0);
  CHECK_EQ(draw_pairs(reviews, 23, 1).same.size(), 23);
  CHECK_THROWS_WITH_AS(
      draw_pairs(reviews, 24, 1),
      "imdb-pairs: the 16 reviews have 23 pairs of one film with different texts, expected at least 24", Error);
  CHECK_THROWS_WITH_AS(draw_pairs(made_reviews(1, 6, 1, "review"), 8, 1),
                       "imdb-pairs: too few films to put their reviews together as pairs of different films", Error);
}

TEST_CASE("imdb-pairs: the task") {
  const ScratchFolder folder;
  std::vector<Review> training = made_reviews(50, 30, 1, "a review");  // 45 films have 19,575 pairs: too few
  write_imdb_tsv(folder / "imdb_test.tsv", made_reviews(6, 30, 400, "another"));
  write_imdb_tsv(folder / "imdb_train.tsv", training);
  check_load_refused<Error>(source_of("imdb-pairs", folder / ""), "have 19575 pairs of one film");
  training = made_reviews(52, 30, 1, "a review");
  write_imdb_tsv(folder / "imdb_train.tsv", training);
  const Task task = load_task(source_of("imdb-pairs", folder / ""));
  CHECK_EQ(task.name, "imdb-pairs");
  CHECK_EQ(task.shape.parts, 2);
  CHECK_EQ(task.train.size(), 40'000);
  CHECK_EQ(task.validation.size(), 4'000);
  CHECK_EQ(task.test.size(), 4'000);
  CHECK_NE(task.notes[0].find("not LRA's Retrieval"), std::string::npos);
  std::map<std::string, Review> of_text;
  for (const Review& review : training) of_text.emplace(review.text, review);
  for (const bool held_out : {false, true}) {
    const Sequences& set = held_out ? task.validation : task.train;
    Index wrong = 0;
    for (Index i = 0; i < set.size(); ++i) {
      const Review &a = of_text.at(text_of(set, i, 0)), &b = of_text.at(text_of(set, i, 1));
      if ((a.film == b.film) != (set.label(i) == 1)) ++wrong;
      if (for_validation(a) != held_out || for_validation(b) != held_out) ++wrong;
    }
    CHECK_EQ(wrong, 0);
  }
}

TEST_CASE("imdb-pairs: a tree without page lists is refused") {
  const ScratchFolder folder;
  for (const char* set : {"train", "test"}) subquad::test::write_imdb_tree(folder / set, made_reviews(3, 4, 9, set));
  fs::remove(folder / "test/urls_neg.txt");
  fs::remove(folder / "train/urls_pos.txt");
  check_load_refused<Error>(source_of("imdb-pairs", folder / ""),
                            "there is no train/urls_pos.txt, which says what films");
}

TEST_CASE("retrieval: LRA's files") {
  const Aan data;
  const Task task = load_task(source_of("retrieval", data.folder / ""));
  CHECK_EQ(task.shape.parts, 2);
  CHECK_EQ(task.shape.vocabulary, 257);
  REQUIRE_EQ(task.train.size(), 2);
  CHECK_EQ(task.train.label(0), 0);
  CHECK_EQ(task.train.label(1), 1);
  CHECK_EQ(text_of(task.train, 1, 0), "three");
  CHECK_EQ(text_of(task.train, 1, 1), "four");
  CHECK_EQ(task.train.token_list(0, 1)[0], 't' + 1);
  CHECK_EQ(task.validation.label(0), 1);
  CHECK_EQ(task.test.length(1, 1), 0);  // an empty document stays
  CHECK_EQ(task.notes[0], "0 of 12 texts (0.0 %) are cut to their first 4000 bytes; 1 is empty");
}

TEST_CASE("retrieval: documents are cut to 10,000 bytes, then to --cut") {
  const Aan data;
  make_file(data.train, cat("0.0\tA\tB\t", std::string(12'000, 'x'), "\t\xFF\n1.0\tA\tB\tone\ttwo\n"));
  TaskSource source = source_of("retrieval", data.folder / "");
  CHECK_EQ(load_task(source).longest(), 4000);
  source.cut = 11'000;
  CHECK_EQ(load_task(source).longest(), 10'000);
  source.cut = 2;
  CHECK_EQ(load_task(source).longest(), 2);
}

TEST_CASE("retrieval: what is refused") {
  const Aan data;
  const TaskSource source = source_of("retrieval", data.folder / "");
  const auto refused = [&](const std::string& row, const std::string& text) {
    CAPTURE(row);
    make_file(data.train, "0.0\tA1\tA2\tone\ttwo\n" + row + "\n");
    check_load_refused(source, cat(data.train.string(), ": ", text));
  };
  refused("1.0\tA\tB\tone", "line 2: 4 fields, expected 5: label, id, id, text and text with tabs between them");
  refused("1.0\tA\tB\tone\ttwo\tthree", "line 2: 6 fields, expected 5");
  refused("2.0\tA\tB\tone\ttwo", "line 2: label is \"2.0\", expected 0.0 or 1.0");
  refused("0.5\tA\tB\tone\ttwo", "line 2: label is \"0.5\"");
  refused("nan\tA\tB\tone\ttwo", "line 2: label is \"nan\"");
  refused("1.0x\tA\tB\tone\ttwo", "line 2: label is \"1.0x\"");
  refused("label\tA\tB\tone\ttwo", "line 2: label is \"label\"");
  refused("0.0\tA\tB\tone\ttwo", "all 2 labels are 0, expected both");
  make_file(data.train, "");
  check_load_refused(source, cat(data.train.string(), ": there is no pair in it"));
  fs::remove(data.train);
  check_load_refused<Error>(source, "there is no new_aan_pairs.train.tsv; it is the folder tsv_data of LRA's archive");
}

TEST_CASE("retrieval: train_lra trains on pairs, an empty text among them, with either head") {
  const Aan data;
  const auto train = [&](const char* run, const Args& more) {
    Args args = {"--task",         "retrieval",
                 "--data",         (data.folder / "").string(),
                 "--out",          (data.folder / run).string(),
                 "--max-length",   "16",
                 "--layers",       "1",
                 "--width",        "8",
                 "--heads",        "2",
                 "--feed-forward", "8",
                 "--steps",        "2",
                 "--threads",      "1"};
    args.insert(args.end(), more.begin(), more.end());
    const Finished finished = subquad::test::train_lra::train(args);
    CAPTURE(finished.err);
    CHECK_EQ(finished.status, 0);
    CHECK_NE(finished.out.find("1 is empty"), std::string::npos);
    return records(data.folder / run).front().at("parameters").get<Index>();
  };
  // Bytes and positions; queries, keys, values and output; two layer norms; feed-forward; last layer norm.
  const Index towers = 257 * 8 + 16 * 8 + 4 * (8 * 8 + 8) + 2 * 2 * 8 + (8 * 8 + 8) * 2 + 2 * 8;
  CHECK_EQ(train("interaction", {"--head-hidden", "8"}), towers + (4 * 8 * 8 + 8) + (8 * 2 + 2));
  CHECK_EQ(train("concatenated", {"--pair-head", "concatenated", "--head-hidden", "12,6"}),
           towers + (2 * 8 * 12 + 12) + (12 * 6 + 6) + (6 * 2 + 2));

  const fs::path run = data.folder / "concatenated";
  const std::string config = test::read_text(run / "config.toml");
  CHECK_NE(config.find("head-hidden=\"12,6\""), std::string::npos);
  fs::remove(run / "checkpoints/step-000002.safetensors");
  const Finished resumed = subquad::test::train_lra::train({"--resume", run.string()});
  CAPTURE(resumed.err);
  CHECK_EQ(resumed.status, 0);
}

TEST_CASE("retrieval: a pair's head belongs to tasks of pairs and to the encoder") {
  check_fails({"--pair-head", "concatenated", "--data", "d", "--out", "o"}, 2,
              "--pair-head concatenated belongs to --task retrieval or imdb-pairs; this is listops");
  check_fails({"--task", "retrieval", "--pair-head", "sum", "--data", "d", "--out", "o"}, 2,
              "--pair-head: 'sum', expected one of interaction, concatenated");
  check_fails({"--task", "retrieval", "--model", "mixer", "--pair-head", "concatenated", "--data", "d", "--out", "o"},
              2, "--pair-head concatenated belongs to --model encoder; this is mixer");
}

TEST_SUITE_END();
