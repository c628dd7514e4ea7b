#include "subquad/examples/lra/tasks/listops.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "subquad/core/error.h"
#include "subquad/core/parallel.h"
#include "subquad/examples/lra/baselines.h"
#include "subquad/examples/lra/tasks/listops_tsv.h"
#include "subquad/tests/support/temporary_folder.h"

using namespace subquad;
using namespace subquad::lra;
using test::TemporaryFolder;

namespace {

// 152 rows (arguments and lengths of every kind, two of full length) by an independent sampler, evaluator and writer in
// Python that shares no code with ours.
const std::filesystem::path kPythonRows = std::filesystem::path(SUBQUAD_SOURCE_DIR) / "tests/examples/data/listops.tsv";

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    tokens.push_back(listops_token(text.substr(at, end - at)));
    REQUIRE_NE(tokens.back(), 0);
    at = end + 1;
  }
  return tokens;
}

int value_of(std::string_view text) {
  return evaluate_listops(tokens_of(text));
}

// Reading this file must fail with FormatError "path: " + what.
void check_refused(const std::string& content, const std::string& what) {
  const TemporaryFolder folder;
  const auto path = folder / "rows.tsv";
  test::write_text(path, content);
  CHECK_THROWS_WITH_AS(read_listops(path), cat(path.string(), ": ", what).c_str(), FormatError);
}

// The same for one row behind the header, which is line 2.
void check_row_refused(const std::string& row, const std::string& what) {
  check_refused("Source\tTarget\r\n" + row + "\r\n", "line 2: " + what);
}

// Of 20,000 samples of an independent sampler in Python (seed 12345).
constexpr double kPythonSamples = 20'000;
constexpr double kLabelShares[10] = {.1703, .0905, .0790, .0823, .0869, .0839, .0788, .0704, .0877, .1702};
constexpr double kMeanLength = 1032.9;
constexpr double kLengthDeviation = 394;  // standard error 8.8 of the mean of 2,000
constexpr double kLengthsByHundred[15] = {2555, 2417, 2219, 1942, 1751, 1497, 1327, 1166,
                                          1073, 911,  817,  716,  630,  495,  484};
constexpr double kRootOperatorAccuracy = .364;

// Standard error of the difference between a share of n samples and the one that Python found.
double share_error(double share, Index n) {
  return std::sqrt(share * (1 - share) * (1 / static_cast<double>(n) + 1 / kPythonSamples));
}

void check_distribution(const Sequences& set) {
  const Index n = set.size();
  const auto share = [n](Index count) { return static_cast<double>(count) / static_cast<double>(n); };

  const std::vector<Index> labels = label_counts(set, kListopsClasses);
  std::vector<Index> hundreds(20), tokens(16), roots(16);
  double total = 0;
  for (Index i = 0; i < n; ++i) {
    total += static_cast<double>(set.length(i));
    ++hundreds.at(static_cast<std::size_t>(set.length(i) / 100));
    ++roots.at(set.tokens(i).front());
    for (const Token token : set.tokens(i)) ++tokens.at(token);
  }
  for (std::size_t label = 0; label < 10; ++label) {
    CAPTURE(label);
    CHECK_LE(std::fabs(share(labels[label]) - kLabelShares[label]), 4 * share_error(kLabelShares[label], n));
  }
  for (std::size_t h = 0; h < 15; ++h) {
    CAPTURE(h);
    const double expected = kLengthsByHundred[h] / kPythonSamples;
    CHECK_LE(std::fabs(share(hundreds[h + 5]) - expected), 4 * share_error(expected, n));
  }
  const double length_error = kLengthDeviation * std::sqrt(1 / static_cast<double>(n) + 1 / kPythonSamples);
  CHECK_LE(std::fabs(total / static_cast<double>(n) - kMeanLength), 4 * length_error);
  for (const Token op : {kListopsMin, kListopsMax, kListopsMedian, kListopsSumMod}) {
    CAPTURE(op);
    CHECK_LE(std::fabs(share(roots[op]) - .25), 4 * share_error(.25, n));
    CHECK_LE(std::fabs(static_cast<double>(tokens[op]) / total - .0355), .0005);
  }
  for (Token digit = 0; digit < 10; ++digit)
    CHECK_LE(std::fabs(static_cast<double>(tokens[kListopsZero + digit]) / total - .0715), .0010);
  CHECK_LE(std::fabs(static_cast<double>(tokens[kListopsClose]) / total - .1423), .0010);
  CHECK_LE(std::fabs(first_token_accuracy(set, set) - kRootOperatorAccuracy), 4 * share_error(.364, n));
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("listops tokens") {
  CHECK_EQ(listops_token("0"), 1);
  CHECK_EQ(listops_token("9"), 10);
  CHECK_EQ(listops_token("[MIN"), 11);
  CHECK_EQ(listops_token("[MAX"), 12);
  CHECK_EQ(listops_token("[MED"), 13);
  CHECK_EQ(listops_token("[SM"), 14);
  CHECK_EQ(listops_token("]"), 15);
  for (Token token = 1; token < kListopsVocabulary; ++token) CHECK_EQ(listops_token(listops_token_text(token)), token);
  for (const char* text : {"", "10", "[FIRST", "MIN", "[", "(", "X"}) CHECK_EQ(listops_token(text), 0);
  CHECK_EQ(listops_token_text(0), "");
  CHECK_EQ(listops_token_text(16), "");
}

TEST_CASE("listops values") {
  CHECK_EQ(value_of("7"), 7);
  CHECK_EQ(value_of("[MAX 2 9 [MIN 4 7 ] 0 ]"), 9);
  CHECK_EQ(value_of("[MAX 2 [MIN 4 7 ] ]"), 4);
  CHECK_EQ(value_of("[MED 4 9 ]"), 6);
  CHECK_EQ(value_of("[MED 1 2 3 8 ]"), 2);
  CHECK_EQ(value_of("[MED 9 0 5 ]"), 5);
  CHECK_EQ(value_of("[MED 3 ]"), 3);
  CHECK_EQ(value_of("[SM 9 9 9 ]"), 7);
  CHECK_EQ(value_of("[SM 5 5 ]"), 0);
  CHECK_EQ(value_of("[MIN 3 3 8 ]"), 3);
}

TEST_CASE("listops names what is wrong with an expression") {
  const auto check_bad = [](std::string_view text, const char* what) {
    CHECK_THROWS_WITH_AS(value_of(text), what, FormatError);
  };
  check_bad("[MAX ]", "token 2: [MAX has no arguments");
  check_bad("[MAX 1", "token 1: [MAX is never closed");
  check_bad("[MAX 1 [SM 2 ]", "token 1: [MAX is never closed");
  check_bad("1 2", "token 2: the expression has already ended");
  check_bad("[MAX 1 ] ]", "token 4: the expression has already ended");
  check_bad("] 1", "token 1: ] closes nothing");
  CHECK_THROWS_WITH_AS(evaluate_listops({}), "token 1: there is no expression", FormatError);
  for (const Token id : {Token{0}, Token{16}})
    CHECK_THROWS_WITH_AS(evaluate_listops(std::vector<Token>{kListopsMax, id}),
                         cat("token 2: id ", id, " is no token of listops").c_str(), FormatError);
}

TEST_CASE("listops text") {
  CHECK_EQ(listops_text(tokens_of("7")), "7");
  CHECK_EQ(listops_text(tokens_of("[MAX 2 9 ]")), "( ( ( [MAX 2 ) 9 ) ] )");
  CHECK_EQ(listops_text(tokens_of("[MAX 2 [MIN 4 7 ] ]")), "( ( ( [MAX 2 ) ( ( ( [MIN 4 ) 7 ) ] ) ) ] )");
}

TEST_CASE("listops nests as deep as memory allows") {
  std::vector<Token> tokens(1'000'000, kListopsMin);
  tokens.push_back(kListopsZero + 3);
  tokens.resize(2'000'001, kListopsClose);
  CHECK_EQ(evaluate_listops(tokens), 3);
  CHECK_EQ(listops_text(tokens).size(), 1'000'000 * (2 * 2 + 5) + 1 + 2 + 1'000'000 * 4 + 999'999 * 2);
}

TEST_CASE("listops reads Python's rows and agrees on every value") {
  const Sequences set = read_listops(kPythonRows);
  CHECK_EQ(set.size(), 152);
  for (Index i = 0; i < set.size(); ++i) {
    CAPTURE(i);
    CHECK_EQ(evaluate_listops(set.token_list(i)), set.label(i));
  }
}

TEST_CASE("listops writes the same bytes as Python") {
  const TemporaryFolder folder;
  write_listops(folder / "again.tsv", read_listops(kPythonRows));
  CHECK(test::read_text(folder / "again.tsv") == test::read_text(kPythonRows));
}

TEST_CASE("listops reads rows without parentheses, with \\n, with an empty last line") {
  const TemporaryFolder folder;
  test::write_text(folder / "a", "Source\tTarget\n[MAX 2 9 ]\t9\n7\t7\n\n");
  const Sequences set = read_listops(folder / "a");
  REQUIRE_EQ(set.size(), 2);
  CHECK_EQ(set.token_list(0), std::vector<Token>{12, 3, 10, 15});
  CHECK_EQ(set.label(0), 9);
  CHECK_EQ(set.length(1), 1);
  test::write_text(folder / "b", "Source\tTarget\n7\t7");
  CHECK_EQ(read_listops(folder / "b").size(), 1);
  test::write_text(folder / "c", "\xEF\xBB\xBFSource\tTarget\n7\t7");  // a byte order mark
  CHECK_EQ(read_listops(folder / "c").hash(), read_listops(folder / "b").hash());
}

TEST_CASE("listops: drop_brackets leaves out what LRA's old tokenizer lost") {
  const TemporaryFolder folder;
  test::write_text(folder / "a", "Source\tTarget\n[MAX 2 [MIN 4 7 ] ]\t4\n");
  const Sequences set = read_listops(folder / "a", {.drop_brackets = true});
  CHECK_EQ(set.token_list(0), std::vector<Token>{12, 3, 11, 5, 8});
}

TEST_CASE("listops: labels are compared with the value unless asked not to") {
  check_row_refused("[MAX 2 9 ]\t2", "label is 2, but the expression gives 9");
  const TemporaryFolder folder;
  test::write_text(folder / "a", "Source\tTarget\n[MAX 2 9 ]\t2\n");
  CHECK_EQ(read_listops(folder / "a", {.verify_labels = false}).label(0), 2);
}

TEST_CASE("listops names file, line and token of a bad row") {
  check_row_refused("[MAX 2 [MEAN 9 ] ]\t2", "token 3: \"[MEAN\" is no token of listops");
  check_row_refused("( ( ( [MAX 2 ) 10 ) ] )\t2", "token 3: \"10\" is no token of listops");
  check_row_refused("[MAX 2 \x01\xff ]\t2", "token 3: \"\\u0001\\ufffd\" is no token of listops");
  check_row_refused("[MAX 2 9 ]", "1 field, expected 2: expression, tab, label");
  check_row_refused("[MAX 2 9 ]\t9\t9", "3 fields, expected 2: expression, tab, label");
  check_row_refused("[MAX 2 9 ]\t", "label \"\" is not a number");
  check_row_refused("[MAX 2 9 ]\tnine", "label \"nine\" is not a number");
  check_row_refused("[MAX 2 9 ]\t9.0", "label \"9.0\" is not a number");
  check_row_refused("[MAX 2 9 ]\t10", "label \"10\" is out of range, expected 0..9");
  check_row_refused("[MAX 2 9 ]\t-1", "label \"-1\" is out of range, expected 0..9");
  check_row_refused("[MAX 2 9 ]\t99999999999", "label \"99999999999\" is out of range, expected 0..9");
  check_row_refused("[MAX 2 9\t9", "token 1: [MAX is never closed");
  check_row_refused("2 9 ]\t9", "token 2: the expression has already ended");
  check_row_refused("[MAX ]\t9", "token 2: [MAX has no arguments");
  check_row_refused("\t9", "token 1: there is no expression");
  check_row_refused("( )\t9", "token 1: there is no expression");
  check_refused("Source\tTarget\n7\t7\n\n8\tx\n", "line 4: label \"x\" is not a number");
}

TEST_CASE("listops refuses files that are none") {
  check_refused("", "the file is empty, expected the header \"Source\\tTarget\"");
  check_refused("7\t7\n", "line 1: header is \"7\\t7\", expected \"Source\\tTarget\"");
  check_refused("Source\tTarget\r\n", "line 1: no expression follows the header");
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(read_listops(folder / "none"), doctest::Contains("No such file or directory"), Error);
  CHECK_THROWS_WITH_AS(read_listops(folder.path()), doctest::Contains("is not a regular file"), Error);
}

TEST_CASE("listops: a full disk leaves the old file and no temporary") {
  const TemporaryFolder folder;
  const Sequences set = read_listops(kPythonRows);
  test::write_text(folder / "a.tsv", "old");
  {
    const test::FullDisk limit(4096);
    CHECK_THROWS_AS(write_listops(folder / "a.tsv", set), Error);
  }
  CHECK_EQ(test::read_text(folder / "a.tsv"), "old");
  CHECK_FALSE(std::filesystem::exists(folder / "a.tsv.tmp"));
}

TEST_CASE("listops samples have LRA's labels and lengths") {
  check_distribution(generate_listops(1, {2'000}, {})[0]);
  check_distribution(generate_listops(2, {20'000}, {})[0]);
}

TEST_CASE("listops: a sample is a function of seed and number") {
  CHECK_EQ(sample_listops(1, 7, {}), sample_listops(1, 7, {}));
  CHECK_NE(sample_listops(1, 7, {}), sample_listops(1, 8, {}));
  CHECK_NE(sample_listops(1, 7, {}), sample_listops(2, 7, {}));
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::vector<Token> tokens = sample_listops(3, i, {.min_length = 20, .max_length = 40});
    CHECK_GT(tokens.size(), 20);
    CHECK_LT(tokens.size(), 40);
  }
}

TEST_CASE("listops sets are disjoint, without duplicates, the same for any number of threads") {
  const ListopsLengths lengths = {.min_length = 3, .max_length = 6};  // short: most draws are duplicates
  const int before = num_threads();
  std::vector<std::uint64_t> hashes;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const std::vector<Sequences> sets = generate_listops(5, {300, 50, 20}, lengths);
    REQUIRE_EQ(sets.size(), 3);
    CHECK_EQ(sets[0].size(), 300);
    CHECK_EQ(sets[1].size(), 50);
    CHECK_EQ(sets[2].size(), 20);
    std::set<std::vector<Token>> distinct;
    for (const Sequences& set : sets)
      for (Index i = 0; i < set.size(); ++i) distinct.insert(set.token_list(i));
    CHECK_EQ(distinct.size(), 370);
    hashes.push_back(sets[0].hash() ^ sets[1].hash() ^ sets[2].hash());
  }
  set_num_threads(before);
  CHECK_EQ(hashes[0], hashes[1]);
  CHECK_EQ(hashes[0], hashes[2]);
}

TEST_CASE("listops: bounds that leave too little are an Error") {
  CHECK_THROWS_WITH_AS(sample_listops(1, 0, {.min_length = 5, .max_length = 6}),
                       "listops: no length is more than 5 and less than 6", Error);
  CHECK_THROWS_WITH_AS(generate_listops(1, {11}, {.min_length = 0, .max_length = 2}),
                       "listops: only 10 different expressions of more than 0 and less than 2 tokens came up", Error);
  CHECK_EQ(generate_listops(1, {10}, {.min_length = 0, .max_length = 2})[0].size(), 10);
}

TEST_CASE("baselines") {
  Sequences train, other, none;
  const auto add = [](Sequences& set, Token first, std::int64_t label) {
    set.append(std::vector<Token>{first, 1}, label);
  };
  for (const std::int64_t label : {5, 5, 5, 6}) add(train, 11, label);
  for (const std::int64_t label : {7, 7, 2}) add(train, 12, label);
  CHECK_EQ(label_counts(train, 10), std::vector<Index>{0, 0, 1, 0, 0, 3, 1, 2, 0, 0});
  add(other, 11, 5);
  add(other, 12, 7);
  add(other, 12, 5);
  add(other, 13, 5);  // unseen: the majority of all
  CHECK_EQ(majority_accuracy(train, other), 0.75);
  CHECK_EQ(first_token_accuracy(train, other), 0.75);
  CHECK_EQ(majority_accuracy(train, train), 3.0 / 7);
  CHECK_EQ(first_token_accuracy(train, train), 5.0 / 7);
  CHECK_EQ(majority_accuracy(train, none), 0);
  CHECK_EQ(first_token_accuracy(none, train), 0);
}

TEST_SUITE_END();
