// A step in micro-batches computes what the step in one batch does, dropout included.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "subquad/examples/lra/learner.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/support/compare.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::device;

namespace {

constexpr TaskShape kShape = {.vocabulary = 6, .classes = 3};
constexpr Index kSteps = 4;  // the third one, which ends an epoch, has 5 samples in place of 8

TrainOptions tiny_options(const std::string& attention, Index accumulate) {
  TrainOptions options;
  options.device = cat(device());
  nn::SequenceClassifierConfig& encoder = options.model.encoder;
  encoder.max_length = 16;
  encoder.layers = 1;
  encoder.width = encoder.hidden = 8;
  encoder.head_hidden = {8};
  encoder.dropout = encoder.attention_dropout = 0.2;
  encoder.attention.kind = attention;
  encoder.attention.heads = attention == "paramixer" ? 1 : 2;
  encoder.attention.nystrom.landmarks = 2;  // so that no batch is short enough for the exact branch
  if (attention == "paramixer") options.model.kind = ModelKind::mixer;
  // With epsilon at its usual value Adam would blow up the rounding of gradients that are nearly 0.
  options.optimizer.epsilon = 0.1;
  options.schedule.rate = 0.1;
  options.batches = {.size = 8, .max_length = 16, .pad_multiple = 4, .accumulate = accumulate};
  return options;
}

Sequences sequences(Index count, Index parts) {
  Sequences set(1, parts);
  for (Index i = 0; i < count; ++i) {
    std::vector<std::uint8_t> a, b;
    for (Index j = 0; j < 3 + i * 5 % 13; ++j) a.push_back(static_cast<std::uint8_t>((i + j * j) % 5));
    for (Index j = 0; j < 3 + i * 7 % 13; ++j) b.push_back(static_cast<std::uint8_t>((i * j) % 5));
    if (parts == 2)
      set.append_bytes({a, b}, i % 3);
    else
      set.append_bytes({a}, i % 3);
  }
  return set;
}

struct Outcome {
  std::vector<StepResult> results;
  nn::StateDict state;
};

Outcome train(const TrainOptions& options, Index parts = 1) {
  TaskShape shape = kShape;
  shape.parts = parts;
  Learner learner(options, shape);
  const Sequences set = sequences(21, parts);
  StepBatches batches(set, options.batches, 5, 0, kSteps);
  for (Index step = 0; step < kSteps; ++step) learner.train(batches().value(), step);
  Outcome outcome = {learner.finish(), {}};
  for (const auto& [name, value] : learner.state_dict()) outcome.state.emplace(name, value.to(kCpu).clone());
  return outcome;
}

double largest(const Tensor& x) {
  double most = 0;
  for (const float value : x.span<float>()) most = std::max(most, std::fabs(static_cast<double>(value)));
  return most;
}

// Each element of both states whose names begin with `prefix`, relative to the largest of all of them: some tensors (a
// key's bias) have a gradient of nothing but rounding.
void check_close(const Outcome& got, const Outcome& want, const std::string& prefix, double tolerance) {
  double scale = 0;
  for (const auto& [name, value] : want.state)
    if (name.starts_with(prefix)) scale = std::max(scale, largest(value));
  REQUIRE_GT(scale, 0);
  for (const auto& [name, value] : want.state) {
    if (!name.starts_with(prefix)) continue;
    CAPTURE(name);
    const std::span<const float> a = got.state.at(name).span<float>(), b = value.span<float>();
    REQUIRE_EQ(a.size(), b.size());
    double error = 0;
    for (std::size_t i = 0; i < a.size(); ++i) error = std::max(error, std::fabs(static_cast<double>(a[i]) - b[i]));
    CHECK_LE(error, tolerance * scale);
  }
}

void check_equal_to_rounding(const Outcome& got, const Outcome& want) {
  // Forward and backward, 16 products over up to 16 terms come one after another; a moment's longest sum goes over all
  // positions of all steps.
  const double tolerance = 16 * test::dot_tolerance(kFloat32, 16) + test::dot_tolerance(kFloat32, kSteps * 2 * 8 * 16);
  REQUIRE_EQ(got.results.size(), want.results.size());
  for (std::size_t i = 0; i < want.results.size(); ++i) {
    CAPTURE(i);
    const StepResult &a = got.results[i], &b = want.results[i];
    CHECK_EQ(a.tally.samples, b.tally.samples);
    CHECK_EQ(a.tally.correct, b.tally.correct);
    CHECK_LE(std::fabs(a.tally.loss - b.tally.loss), tolerance * b.tally.loss);
    CHECK_LE(std::fabs(a.gradient_norm - b.gradient_norm), tolerance * b.gradient_norm);
  }
  check_close(got, want, "optimizer.m.", tolerance);
  check_close(got, want, "model.", tolerance);
}

}  // namespace

TEST_CASE("accumulation: k micro-batches equal one batch, for each attention, dropout on") {
  for (const std::string& kind : nn::attention_kinds()) {
    if (test::interpreted() && kind == "local") continue;  // time: combiner has its kernels
    const Outcome whole = train(tiny_options(kind, 1));
    CHECK_EQ(whole.results[2].tally.samples, 5);
    for (const Index accumulate : {2, 3, 8, 100}) {
      if (test::interpreted() && accumulate > 2) continue;
      CAPTURE(kind);
      CAPTURE(accumulate);
      const Outcome parts = train(tiny_options(kind, accumulate));
      check_equal_to_rounding(parts, whole);
    }
  }
}

TEST_CASE("accumulation: of pairs") {
  check_equal_to_rounding(train(tiny_options("softmax", 3), 2), train(tiny_options("softmax", 1), 2));
}

TEST_CASE("accumulation: the comparison sees the mean of the micro-batches' means, and dropout") {
  const TrainOptions options = tiny_options("softmax", 3);
  const Sequences set = sequences(8, 1);
  const SampleNumbers all = {0, 1, 2, 3, 4, 5, 6, 7};
  Learner learner(options, kShape);
  double of_means = 0;
  for (const Batch& part : make_micro_batches(set, all, options.batches))
    of_means += learner.predict(part).tally.mean_loss() / 3;
  const double mean = learner.predict(make_batch(set, all, options.batches)).tally.mean_loss();
  CHECK_GT(std::fabs(of_means - mean), 100 * test::dot_tolerance(kFloat32, 8 * 16) * mean);
  TrainOptions without = options;
  without.model.encoder.dropout = without.model.encoder.attention_dropout = 0;
  const double with_dropout = train(options).results[0].tally.loss, no_dropout = train(without).results[0].tally.loss;
  CHECK_GT(std::fabs(with_dropout - no_dropout), 100 * test::dot_tolerance(kFloat32, 8 * 16) * no_dropout);
}

TEST_CASE("accumulation: one micro-batch that is not finite voids the whole step, and training goes on") {
  const TrainOptions options = tiny_options("softmax", 4);
  Learner learner(options, kShape);
  nn::StateDict state;
  for (const auto& [name, value] : learner.state_dict()) state.emplace(name, value.clone());
  // Token 5 alone is broken, and only the longest sequence, of the last micro-batch, has one.
  Tensor row = state.at("model.encoder.tokens.weight").slice(0, 5, 6);
  fill(row, std::numeric_limits<double>::quiet_NaN());
  learner.load_state_dict(state);
  Sequences set;
  for (Index i = 0; i < 8; ++i)
    set.append(std::vector<Token>(static_cast<std::size_t>(i + 1), static_cast<Token>(i == 7 ? 5 : 1)), i % 3);
  learner.train(make_micro_batches(set, {0, 1, 2, 3, 4, 5, 6, 7}, options.batches), 7);
  CHECK_THROWS_WITH_AS(learner.finish(), doctest::Contains("training step 7: loss nan and gradient norm nan must be"),
                       Error);
  for (const auto& [name, value] : learner.state_dict()) CHECK(test::same_bits(value, state.at(name)));
  learner.train(make_micro_batches(set, {0, 1, 2, 3, 4, 5, 6}, options.batches), 8);
  CHECK_EQ(learner.finish().at(0).tally.samples, 7);
}
