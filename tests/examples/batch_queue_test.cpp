#include "subquad/examples/lra/batch_queue.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>

#include "subquad/core/error.h"
#include "subquad/examples/lra/trainer.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

using Clock = std::chrono::steady_clock;

Sequences numbered(Index count) {
  Sequences set;
  for (Index i = 0; i < count; ++i)
    set.append(std::vector<Token>(static_cast<std::size_t>(1 + i % 13), static_cast<Token>(i)), i % 3);
  return set;
}

void check_same_batch(const Batch& a, const Batch& b) {
  const std::vector<Tensor> left = tensors_of(a), right = tensors_of(b);
  REQUIRE_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    REQUIRE_EQ(left[i].shape(), right[i].shape());
    const auto bytes = static_cast<std::size_t>(left[i].size()) * dtype_bytes(left[i].dtype());
    CHECK(std::equal(left[i].bytes(), left[i].bytes() + bytes, right[i].bytes()));
  }
}

void check_same(const MicroBatches& a, const MicroBatches& b) {
  REQUIRE_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) check_same_batch(a[i], b[i]);
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

MicroBatches small_batch(Index label) {
  Sequences set;
  set.append(std::vector<Token>{1, 2}, label);
  return {make_batch(set, {0}, {})};
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("StepBatches: epoch after epoch, from any step on") {
  const Sequences set = numbered(23);
  const BatchOptions options{.size = 5, .pad_multiple = 4, .bucket = 2};
  for (const Index first : {0, 3, 5, 12}) {
    CAPTURE(first);
    StepBatches batches(set, options, 9, first, 13);
    for (Index step = first; step < 13; ++step) {
      CAPTURE(step);
      const auto epoch = shuffled_batches(set, options, 9, step / 5);
      const std::optional<MicroBatches> step_batches = batches();
      REQUIRE(step_batches);
      check_same(*step_batches, {make_batch(set, epoch[static_cast<std::size_t>(step % 5)], options)});
    }
    CHECK_FALSE(batches());
  }
}

TEST_CASE("BatchQueue: the source's batches in its order, bit for bit") {
  const Sequences set = numbered(50);
  for (const Index capacity : {1, 4, 100}) {
    CAPTURE(capacity);
    StepBatches direct(set, {.size = 7}, 1, 0, 20);
    BatchQueue queue(StepBatches(set, {.size = 7}, 1, 0, 20), capacity);
    for (Index step = 0; step < 20; ++step) check_same(queue.next().value(), direct().value());
    CHECK_FALSE(queue.next());
    CHECK_FALSE(queue.next());
  }
  CHECK_THROWS_WITH_AS(BatchQueue(StepBatches(set, {}, 1, 0, 1), 0), "BatchQueue: capacity is 0, expected at least 1",
                       Error);
}

TEST_CASE("BatchQueue: an error comes in the place of its batch, and stays") {
  Index made = 0;
  BatchQueue queue(
      [&made]() -> std::optional<MicroBatches> {
        if (made == 3) throw FormatError("batch 3 is broken");
        return small_batch(made++);
      },
      2);
  for (Index i = 0; i < 3; ++i) {
    const MicroBatches batches = queue.next().value();
    CHECK_EQ(batches.front().labels.span<Index>()[0], i);
  }
  for (int again = 0; again < 2; ++again) CHECK_THROWS_WITH_AS(queue.next(), "batch 3 is broken", FormatError);

  // As training meets it: a sample that is too long.
  const Sequences set = numbered(20);
  BatchQueue too_long(StepBatches(set, {.size = 20, .max_length = 5}, 1, 0, 1), 1);
  CHECK_THROWS_WITH_AS(too_long.next(), doctest::Contains("tokens, more than max-length 5"), Error);
}

TEST_CASE("BatchQueue: makes no more than fit, and ends while its thread waits") {
  std::atomic<Index> made = 0;
  {
    BatchQueue queue([&made]() -> std::optional<MicroBatches> { return small_batch(made++); }, 3);
    queue.next();
    while (made < 5) std::this_thread::yield();  // three wait, one was taken, one is held back
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK_EQ(made, 5);
  }
  CHECK_EQ(made, 5);
}

TEST_CASE("BatchQueue: tells how long it was waited for, and a run's cost which share that is") {
  const double slow = 0.03;  // seconds that the source takes for each of the first two batches
  const Clock::time_point begin = Clock::now();
  Index made = 0;
  BatchQueue queue(
      [&made, slow]() -> std::optional<MicroBatches> {
        if (made < 2) std::this_thread::sleep_for(std::chrono::duration<double>(slow));
        return small_batch(made++);
      },
      8);
  double inside = 0;  // of next()
  for (int i = 0; i < 2; ++i) {
    const Clock::time_point call = Clock::now();
    queue.next();
    inside += seconds_since(call);
  }
  const double outside = seconds_since(begin) - inside;
  const double waited = queue.waited_seconds();
  CHECK_LE(waited, inside);
  CHECK_GE(waited + outside, 1.5 * slow);

  // Work until the wait is 5 % of the time; the batches that come then are there already.
  while (seconds_since(begin) < 20 * waited) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < 4; ++i) queue.next();
  const Cost cost = {.training_seconds = seconds_since(begin), .waiting_seconds = queue.waited_seconds()};
  CHECK_GT(cost.waiting_share(), 0.03);
  CHECK_LT(cost.waiting_share(), 0.07);
  CHECK_EQ(Cost().waiting_share(), 0);
}

TEST_SUITE_END();
