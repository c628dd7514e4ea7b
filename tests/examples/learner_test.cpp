#include "subquad/examples/lra/learner.h"

#include <doctest/doctest.h>

#include <cmath>

#include <limits>

#include "subquad/core/allocator.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

TrainOptions tiny_options() {
  TrainOptions options;
  options.model.max_length = 16;
  options.model.width = 8;
  options.model.attention.heads = 2;
  options.model.hidden = 8;
  options.model.head_hidden = 8;
  options.schedule.rate = 0.01;
  options.batches.pad_to = 16;
  return options;
}

// Sample i repeats the token of its label; `length` tokens, or 1 to 16 of them.
Sequences same_tokens(Index count, Index length = -1) {
  Sequences set;
  for (Index i = 0; i < count; ++i) {
    const Index label = i % 3;
    set.append(
        std::vector<Token>(static_cast<std::size_t>(length < 0 ? 1 + i % 16 : length), static_cast<Token>(label + 1)),
        label);
  }
  return set;
}

SampleNumbers first(Index count) {
  SampleNumbers numbers;
  for (Index i = 0; i < count; ++i) numbers.push_back(i);
  return numbers;
}

}  // namespace

TEST_CASE("learner: live bytes are equal after each of 200 steps, and the system is not asked again") {
  const TrainOptions options = tiny_options();
  Learner learner(options, 4, 3);
  const Sequences set = same_tokens(40);
  std::size_t live = 0;
  std::uint64_t asked = 0;
  for (Index step = 0; step < 200; ++step) {
    {
      SampleNumbers samples;
      for (Index i = 0; i < 8; ++i) samples.push_back((step * 3 + i * 5) % 40);
      learner.train(make_batch(set, samples, options.batches, kCpu), step);
    }
    const MemoryStats stats = memory_stats();
    if (step == 2) {  // from here on nothing is new
      live = stats.current_bytes;
      asked = stats.system_allocations;
    } else if (step > 2) {
      REQUIRE_EQ(stats.current_bytes, live);
      REQUIRE_EQ(stats.system_allocations, asked);
    }
  }
}

TEST_CASE("learner: an easy set is learnt, and predictions agree with the tally") {
  const TrainOptions options = tiny_options();
  Learner learner(options, 4, 3);
  const Sequences set = same_tokens(24);
  const Batch batch = make_batch(set, first(24), options.batches, kCpu);
  const double before = learner.predict(batch).tally.mean_loss();
  for (Index step = 0; step < 100; ++step) learner.train(batch, step);
  const Learner::Prediction after = learner.predict(batch);
  CHECK_LT(after.tally.mean_loss(), before / 2);
  CHECK_EQ(after.tally.correct, 24);
  for (Index i = 0; i < 24; ++i) CHECK_EQ(after.classes[static_cast<std::size_t>(i)], set.label(i));
}

TEST_CASE("learner: batches of none, of one, and of sequences without a token") {
  const TrainOptions options = tiny_options();
  Learner learner(options, 4, 3);
  const Sequences empty = same_tokens(3, 0), full = same_tokens(3);
  CHECK_EQ(learner.train(make_batch(full, {}, options.batches, kCpu), 0).tally.samples, 0);
  CHECK_EQ(learner.train(make_batch(full, {2}, options.batches, kCpu), 1).tally.samples, 1);
  CHECK_GT(learner.train(make_batch(empty, first(3), options.batches, kCpu), 2).tally.loss, 0);
  CHECK(learner.predict(make_batch(full, {}, options.batches, kCpu)).classes.empty());
  CHECK_EQ(learner.predict(make_batch(empty, first(3), options.batches, kCpu)).classes.size(), 3);
}

TEST_CASE("learner: a loss that is not finite is an error and changes nothing") {
  const TrainOptions options = tiny_options();
  Learner learner(options, 4, 3);
  nn::StateDict state;
  for (const auto& [name, value] : learner.state_dict()) state.emplace(name, value.clone());
  Tensor bias = state.at("model.head.layers.1.bias");
  fill(bias, std::numeric_limits<double>::quiet_NaN());
  learner.load_state_dict(state);
  const Sequences set = same_tokens(8);
  CHECK_THROWS_WITH_AS(learner.train(make_batch(set, first(8), options.batches, kCpu), 7),
                       "training step 7: loss nan and gradient norm nan must be finite; a lower --learning-rate or "
                       "--clip-norm may help",
                       Error);
  CHECK_EQ(learner.state_dict().at("optimizer.step").item<std::int64_t>(), 0);
}

TEST_CASE("learner: labels out of range") {
  const TrainOptions options = tiny_options();
  Learner learner(options, 4, 3);
  Sequences set;
  set.append(std::vector<Token>{1, 2}, 3);
  CHECK_THROWS_AS(learner.train(make_batch(set, {0}, options.batches, kCpu), 0), Error);
}

TEST_CASE("evaluation: predictions, tallies and groups") {
  const Tensor logits = tensor<float>({1, 3, 3, 0, -1, -2}, {2, 3});
  CHECK_EQ(predictions(logits), std::vector<std::int64_t>{1, 0});
  CHECK_EQ(predictions(tensor<float>({NAN, 1, 2, 0, NAN, 3}, {2, 3})), std::vector<std::int64_t>{-1, -1});
  Sequences set;
  set.append(std::vector<Token>{1, 2}, 1);
  set.append(std::vector<Token>{2}, 2);
  set.append({}, 0);
  const Batch batch = make_batch(set, {0, 1}, {.pad_multiple = 2}, kCpu);
  Tally two = tally(0.5, {1, 0}, batch);
  CHECK_EQ(two, Tally{1.0, 1, 2});
  two += Tally{2.0, 2, 2};
  CHECK_EQ(two.mean_loss(), 0.75);
  CHECK_EQ(two.accuracy(), 0.75);
  CHECK_EQ(Tally().accuracy(), 0);
  const auto groups = tally_by_first_token(set, {1, 0, 0});
  CHECK_EQ(groups.size(), 3);
  CHECK_EQ(groups.at(1).correct, 1);
  CHECK_EQ(groups.at(2).correct, 0);
  CHECK_EQ(groups.at(0).samples, 1);
}
