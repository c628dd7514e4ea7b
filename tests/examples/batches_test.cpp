#include "subquad/examples/lra/batches.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using namespace subquad;
using namespace subquad::lra;

namespace {

// Sample i has the given length and consists of the token i + 1.
Sequences of_lengths(const std::vector<Index>& lengths) {
  Sequences set;
  for (std::size_t i = 0; i < lengths.size(); ++i)
    set.append(std::vector<Token>(static_cast<std::size_t>(lengths[i]), static_cast<Token>(i + 1)),
               static_cast<std::int64_t>(i % 3));
  return set;
}

Sequences many(Index count) {
  std::vector<Index> lengths;
  for (Index i = 0; i < count; ++i) lengths.push_back(1 + i * 7 % 50);
  return of_lengths(lengths);
}

SampleNumbers joined(const std::vector<SampleNumbers>& batches) {
  SampleNumbers all;
  for (const SampleNumbers& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
  return all;
}

bool every_sample_once(const std::vector<SampleNumbers>& batches, Index count) {
  SampleNumbers all = joined(batches), expected(static_cast<std::size_t>(count));
  std::sort(all.begin(), all.end());
  std::iota(expected.begin(), expected.end(), Index{0});
  return all == expected;
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("a pair's sequences are rows of a batch: first ones, then second ones") {
  const std::vector<std::uint8_t> two = {65, 66}, one = {0}, three = {9, 8, 255};
  Sequences set(1, 2);
  set.append_bytes({two, three}, 1);
  set.append_bytes({one, {}}, 0);
  CHECK_EQ(set.length(0), 3);
  CHECK_EQ(set.token_count(1), 1);
  CHECK_EQ(set.token_count(), 6);
  CHECK_EQ(set.token_list(0, 1), std::vector<Token>{10, 9, 256});
  CHECK_THROWS_WITH_AS(set.append_bytes({one}, 0), "Sequences: a sample of 1 sequences, expected 2", Error);
  CHECK_THROWS_WITH_AS(set.append(std::vector<Token>{0}, 0), "Sequences: token 0, expected 1..256", Error);

  const Batch batch = make_batch(set, {1, 0}, {.size = 2, .pad_multiple = 4});
  CHECK_EQ(batch.size(), 2);
  CHECK_EQ(batch.tokens, 6);
  CHECK_EQ(batch.ids.shape(), Shape{4, 4});
  const auto ids = batch.ids.span<std::int64_t>();
  CHECK_EQ(std::vector(ids.begin(), ids.end()),
           std::vector<std::int64_t>{1, 0, 0, 0, 66, 67, 0, 0, 0, 0, 0, 0, 10, 9, 256, 0});
  const auto lengths = batch.mask.lengths.span<std::int64_t>();
  CHECK_EQ(std::vector(lengths.begin(), lengths.end()), std::vector<std::int64_t>{1, 2, 0, 3});

  Sequences swapped(1, 2);
  swapped.append_bytes({three, two}, 1);
  swapped.append_bytes({one, {}}, 0);
  CHECK_NE(set.hash(), swapped.hash());
}

TEST_CASE("sequences keep tokens, labels and lengths; the hash sees each of them") {
  const Sequences set = of_lengths({3, 0, 2});
  CHECK_EQ(set.size(), 3);
  CHECK_EQ(set.length(1), 0);
  CHECK_EQ(set.tokens(2)[1], 3);
  CHECK_EQ(set.label(2), 2);
  CHECK_EQ(set.longest(), 3);
  CHECK_EQ(Sequences().longest(), 0);
  CHECK_EQ(set.hash(), of_lengths({3, 0, 2}).hash());
  CHECK_NE(set.hash(), of_lengths({3, 2, 0}).hash());
  Sequences other_label;
  other_label.append(set.token_list(0), 1);
  CHECK_NE(other_label.hash(), of_lengths({3}).hash());
}

TEST_CASE("shuffled_batches: every sample once, another order in another epoch or seed, the same again") {
  const Sequences set = many(103);
  for (const Index bucket : {1, 4}) {
    CAPTURE(bucket);
    const BatchOptions options{.size = 10, .bucket = bucket};
    const auto first = shuffled_batches(set, options, 1, 0);
    CHECK_EQ(first.size(), 11);
    CHECK(every_sample_once(first, 103));
    CHECK_EQ(first, shuffled_batches(set, options, 1, 0));
    CHECK_NE(first, shuffled_batches(set, options, 1, 1));
    CHECK_NE(first, shuffled_batches(set, options, 2, 0));
  }
  CHECK(shuffled_batches(Sequences(), {}, 1, 0).empty());
  CHECK_EQ(shuffled_batches(many(3), {.size = 10}, 1, 0).size(), 1);
  CHECK_EQ(shuffled_batches(many(3), {.size = 1}, 1, 0).size(), 3);
}

TEST_CASE("shuffled_batches: buckets save padding") {
  const Sequences set = many(200);
  const auto padding = [&](Index bucket) {
    const BatchOptions options{.size = 10, .pad_multiple = 1, .bucket = bucket};
    Index padded = 0;
    for (const SampleNumbers& samples : shuffled_batches(set, options, 1, 0)) {
      const Batch batch = make_batch(set, samples, options);
      padded += batch.ids.size() - batch.tokens;
    }
    return padded;
  };
  CHECK_LT(padding(10), padding(1) / 2);
}

TEST_CASE("sorted_batches: every sample once, from short to long") {
  const Sequences set = many(25);
  const auto batches = sorted_batches(set, {.size = 10});
  CHECK(every_sample_once(batches, 25));
  const SampleNumbers order = joined(batches);
  CHECK(std::is_sorted(order.begin(), order.end(), [&](Index a, Index b) { return set.length(a) < set.length(b); }));
}

TEST_CASE("EvaluationBatches: those of sorted_batches, one a call") {
  const Sequences set = many(25);
  const BatchOptions options = {.size = 10, .pad_multiple = 4};
  EvaluationBatches batches(set, options);
  for (const SampleNumbers& samples : sorted_batches(set, options)) {
    const std::optional<MicroBatches> next = batches();
    REQUIRE(next);
    REQUIRE_EQ(next->size(), 1);
    const auto numbers = next->front().samples.span<Index>();
    CHECK_EQ(SampleNumbers(numbers.begin(), numbers.end()), samples);
    CHECK_EQ(next->front().ids.shape(), make_batch(set, samples, options).ids.shape());
  }
  CHECK_FALSE(batches());
  CHECK_FALSE(EvaluationBatches(Sequences(), options)());
}

TEST_CASE("make_micro_batches: every sample once, in parts of nearly one size, each padded for itself") {
  const Sequences set = many(60);
  const SampleNumbers samples = {31, 4, 9, 50, 2, 17, 23, 8, 40, 11};
  const auto cut = [&](Index accumulate, Index size) {
    const SampleNumbers chosen(samples.begin(), samples.begin() + size);
    return make_micro_batches(set, chosen, {.pad_multiple = 1, .accumulate = accumulate});
  };
  for (const Index accumulate : {1, 2, 3, 4, 10, 1000}) {
    CAPTURE(accumulate);
    const MicroBatches parts = cut(accumulate, 10);
    CHECK_EQ(parts.size(), static_cast<std::size_t>(std::min<Index>(accumulate, 10)));
    std::vector<SampleNumbers> numbers;
    Index before = 0;
    for (const Batch& part : parts) {
      CHECK_LE(part.size(), (10 + accumulate - 1) / accumulate);
      CHECK_GE(part.size(), std::max<Index>(10 / accumulate, 1));
      numbers.emplace_back(part.samples.span<Index>().begin(), part.samples.span<Index>().end());
      Index longest = 0;
      for (const Index sample : numbers.back()) longest = std::max(longest, set.length(sample));
      CHECK_EQ(part.ids.dim(1), longest);
      CHECK_GE(longest, before);
      before = longest;
    }
    SampleNumbers all = joined(numbers), expected = samples;
    if (accumulate == 1) CHECK_EQ(all, samples);
    std::sort(all.begin(), all.end());
    std::sort(expected.begin(), expected.end());
    CHECK_EQ(all, expected);
  }
  CHECK_EQ(cut(3, 2).size(), 2);
  CHECK_EQ(cut(3, 0).size(), 1);
  CHECK_EQ(cut(3, 0).front().size(), 0);
  CHECK_EQ(sorted_batches(set, {.size = 10, .accumulate = 3}).front().size(), 4);  // as large as a micro-batch
}

TEST_CASE("make_batch pads behind the tokens and masks the padding") {
  const Sequences set = of_lengths({3, 1, 0});
  const Batch batch = make_batch(set, {2, 0, 1}, {.pad_multiple = 4});
  CHECK_EQ(batch.ids.shape(), Shape{3, 4});
  const std::vector<std::int64_t> expected = {0, 0, 0, 0, 1, 1, 1, 0, 2, 0, 0, 0};
  const auto ids = batch.ids.span<std::int64_t>();
  CHECK_EQ(std::vector<std::int64_t>(ids.begin(), ids.end()), expected);
  for (Index i = 0; i < 12; ++i) CHECK_EQ(batch.mask.real.data<bool>()[i], expected[static_cast<std::size_t>(i)] != 0);
  CHECK(batch.mask.prefix);
  CHECK_EQ(batch.mask.lengths.data<std::int64_t>()[1], 3);
  CHECK_EQ(batch.labels.data<std::int64_t>()[0], 2);
  CHECK_EQ(batch.samples.data<std::int64_t>()[0], 2);
  CHECK_EQ(batch.tokens, 4);
}

TEST_CASE("make_batch: batches of none, of one, and of empty sequences") {
  const Sequences set = of_lengths({5, 0});
  const Batch none = make_batch(set, {}, {.pad_multiple = 8});
  CHECK_EQ(none.size(), 0);
  CHECK_EQ(none.ids.shape(), Shape{0, 8});
  CHECK_EQ(make_batch(set, {0}, {.pad_multiple = 8}).ids.shape(), Shape{1, 8});
  const Batch empty = make_batch(set, {1}, {.pad_multiple = 8});
  CHECK_EQ(empty.ids.shape(), Shape{1, 8});
  CHECK_EQ(empty.tokens, 0);
}

TEST_CASE("make_batch: fixed and largest lengths") {
  const Sequences set = of_lengths({5, 9});
  CHECK_EQ(make_batch(set, {0}, {.pad_to = 12}).ids.dim(1), 12);
  CHECK_EQ(make_batch(set, {1}, {.max_length = 10, .pad_multiple = 8}).ids.dim(1), 10);
  CHECK_THROWS_WITH_AS(make_batch(set, {0, 1}, {.pad_to = 8}), "batch: sample 1 has 9 tokens, more than pad-to 8",
                       Error);
  CHECK_THROWS_WITH_AS(make_batch(set, {0, 1}, {.max_length = 8}),
                       "batch: sample 1 has 9 tokens, more than max-length 8", Error);
}

TEST_SUITE_END();
