#include "subquad/examples/lra/learner.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "subquad/core/allocator.h"
#include "subquad/core/graph.h"
#include "subquad/examples/lra/options.h"
#include "subquad/nn/attention/attention.h"
#include "subquad/tests/support/compare.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::device;

namespace {

TrainOptions tiny_options() {
  TrainOptions options;
  options.device = cat(device());
  options.model.encoder.max_length = 16;
  options.model.encoder.width = 8;
  options.model.encoder.attention.heads = 2;
  options.model.encoder.hidden = 8;
  options.model.encoder.head_hidden = {8};
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

TEST_CASE("learner: live bytes are equal after each step, and the system is not asked again") {
  const TrainOptions options = tiny_options();
  Learner learner(options, {4, 3});
  const Sequences set = same_tokens(40);
  std::size_t live = 0;
  std::uint64_t asked = 0;
  const Index steps = test::interpreted() ? 12 : 200;
  for (Index step = 0; step < steps; ++step) {
    {
      SampleNumbers samples;
      for (Index i = 0; i < 8; ++i) samples.push_back((step * 3 + i * 5) % 40);
      learner.train(make_batch(set, samples, options.batches), step);
      learner.finish();  // results that wait to be read are live, too
    }
    const MemoryStats stats = memory_stats(device());
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
  Learner learner(options, {4, 3});
  const Index count = test::interpreted() ? 9 : 24, steps = test::interpreted() ? 25 : 100;
  const Sequences set = same_tokens(count);
  const Batch batch = make_batch(set, first(count), options.batches);
  const double before = learner.predict(batch).tally.mean_loss();
  for (Index step = 0; step < steps; ++step) learner.train(batch, step);
  const Learner::Prediction after = learner.predict(batch);
  CHECK_LT(after.tally.mean_loss(), before / 2);
  CHECK_EQ(after.tally.correct, count);
  for (Index i = 0; i < count; ++i) CHECK_EQ(after.classes[static_cast<std::size_t>(i)], set.label(i));
}

TEST_CASE("learner: of pairs, whether both repeat the same token is learnt; a mixer refuses them") {
  TrainOptions options = tiny_options();
  const Index count = test::interpreted() ? 9 : 36, steps = test::interpreted() ? 20 : 150;
  Sequences set(1, 2);
  for (Index i = 0; i < count; ++i) {
    const std::vector<std::uint8_t> a(static_cast<std::size_t>(1 + i % 5), static_cast<std::uint8_t>(i % 3));
    const std::vector<std::uint8_t> b(static_cast<std::size_t>(2 + i % 7), static_cast<std::uint8_t>(i / 3 % 3));
    set.append_bytes({a, b}, a.front() == b.front());
  }
  const TaskShape shape = {.vocabulary = 4, .classes = 2, .parts = 2};
  Learner learner(options, shape);
  const Batch batch = make_batch(set, first(count), options.batches);
  for (Index step = 0; step < steps; ++step) learner.train(batch, step);
  const std::vector<StepResult> results = learner.finish();
  CHECK_LT(results.back().tally.mean_loss(), 0.5 * results.front().tally.mean_loss());
  const Learner::Prediction prediction = learner.predict(batch);
  CHECK_EQ(prediction.tally.samples, count);
  if (!test::interpreted()) CHECK_EQ(prediction.tally.correct, 36);

  options.model.kind = ModelKind::mixer;
  CHECK_THROWS_WITH_AS(Learner(options, shape),
                       "--model mixer takes one sequence; a task of pairs needs --model encoder", OptionError);
}

TEST_CASE("learner: batches of none, of one, and of sequences without a token") {
  const TrainOptions options = tiny_options();
  Learner learner(options, {4, 3});
  const Sequences empty = same_tokens(3, 0), full = same_tokens(3);
  learner.train(make_batch(full, {}, options.batches), 0);
  learner.train(make_batch(full, {2}, options.batches), 1);
  learner.train(make_batch(empty, first(3), options.batches), 2);
  const std::vector<StepResult> results = learner.finish();
  REQUIRE_EQ(results.size(), 3);
  CHECK_EQ(results[0].tally.samples, 0);
  CHECK_EQ(results[1].tally.samples, 1);
  CHECK_GT(results[2].tally.loss, 0);
  CHECK(learner.finish().empty());
  CHECK(learner.predict(make_batch(full, {}, options.batches)).classes.empty());
  CHECK_EQ(learner.predict(make_batch(empty, first(3), options.batches)).classes.size(), 3);
}

TEST_CASE("learner: a loss that is not finite is an error and changes nothing") {
  const TrainOptions options = tiny_options();
  Learner learner(options, {4, 3});
  nn::StateDict state;
  for (const auto& [name, value] : learner.state_dict()) state.emplace(name, value.clone());
  Tensor bias = state.at("model.head.layers.1.bias");
  fill(bias, std::numeric_limits<double>::quiet_NaN());
  learner.load_state_dict(state);
  const Sequences set = same_tokens(8);
  learner.train(make_batch(set, first(8), options.batches), 7);
  CHECK_THROWS_WITH_AS(learner.finish(),
                       "training step 7: loss nan and gradient norm nan must be finite; a lower --learning-rate or "
                       "--clip-norm may help",
                       Error);
  CHECK_EQ(learner.state_dict().at("optimizer.step").to(kCpu).item<std::int64_t>(), 0);
  for (const auto& [name, value] : learner.state_dict()) CHECK(test::same_bits(value, state.at(name)));
}

TEST_CASE("learner: scores that are NaN are an error with advice, where FSAT chooses by them, too") {
  if (!device().is_cpu()) return;  // there nobody can look at scores without waiting: the loss is what is not finite
  TrainOptions options = tiny_options();
  options.model.encoder.attention.kind = "fsat";
  Learner learner(options, {4, 3});
  nn::StateDict state;
  for (const auto& [name, value] : learner.state_dict()) {
    state.emplace(name, value.clone());
    if (name.starts_with("model.") && name.find("cross_a") != std::string::npos)
      fill(state.at(name), std::numeric_limits<double>::quiet_NaN());
  }
  learner.load_state_dict(state);
  const Batch batch = make_batch(same_tokens(8), first(8), options.batches);
  const auto fails = [](const std::string& where, const auto& f) {
    const std::string start = where + ": choose_top_k: element ";
    CHECK_THROWS_WITH_AS(f(), doctest::Contains(start.c_str()), Error);
    CHECK_THROWS_WITH_AS(f(), doctest::Contains("is NaN, expected numbers; a lower --learning-rate or --clip-norm may"),
                         Error);
  };
  fails("training step 7", [&] { learner.train(batch, 7); });
  fails("evaluation", [&] { learner.predict(batch); });
}

TEST_CASE("learner: a label out of range is named, its step changes nothing, and training can go on") {
  const TrainOptions options = tiny_options();
  Learner learner(options, {4, 3});
  nn::StateDict before;
  for (const auto& [name, value] : learner.state_dict()) before.emplace(name, value.clone());
  Sequences set = same_tokens(3);
  set.append(std::vector<Token>{1, 2}, 3);
  CHECK_THROWS_WITH_AS((learner.train(make_batch(set, {0, 3}, options.batches), 0), learner.finish()),
                       "cross_entropy: label 3 of sample 1 is outside [0, 3)", Error);
  for (const auto& [name, value] : learner.state_dict()) CHECK(test::same_bits(value, before.at(name)));
  CHECK(learner.finish().empty());
  learner.train(make_batch(set, {0, 1}, options.batches), 1);
  CHECK_EQ(learner.finish().at(0).step, 1);
}

TEST_SUITE("cuda") {
  // Batches of two shapes, `steps` of them, as training would draw them.
  std::vector<StepResult> train(Learner & learner, const Sequences& set, const TrainOptions& options, Index steps) {
    std::vector<StepResult> results;
    for (Index step = 0; step < steps; ++step) {
      SampleNumbers samples;
      for (Index i = 0; i < (step % 3 == 2 ? 3 : 8); ++i) samples.push_back((step * 3 + i * 5) % 40);
      learner.train(make_batch(set, samples, options.batches), step);
      for (const StepResult& result : learner.finish()) results.push_back(result);
    }
    return results;
  }

  TEST_CASE("learner: 20 steps agree with the CPU's") {
    TrainOptions there = tiny_options(), here = tiny_options();
    here.device = "cpu";
    const Sequences set = same_tokens(40);
    Learner on_device(there, {4, 3}), on_cpu(here, {4, 3});
    for (const auto& [name, value] : on_cpu.state_dict())
      CHECK(test::same_bits(on_device.state_dict().at(name), value));
    const std::vector<StepResult> got = train(on_device, set, there, 20), want = train(on_cpu, set, here, 20);
    REQUIRE_EQ(got.size(), 20);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK_LT(std::fabs(got[i].tally.loss - want[i].tally.loss), 1e-4 * want[i].tally.loss);
      CHECK_LT(std::fabs(got[i].gradient_norm - want[i].gradient_norm), 1e-3 * want[i].gradient_norm);
    }
    for (const auto& [name, value] : on_cpu.state_dict()) {
      CAPTURE(name);
      // The gradient of a key's bias is 0 by the equations (softmax ignores what is added to all logits of a row), so
      // what Adam divides by its own size there is nothing but rounding.
      if (name.starts_with("model.") && !name.ends_with("key.bias"))
        CHECK_CLOSE(on_device.state_dict().at(name), value, 1e-4);
    }
  }

  TEST_CASE("learner: a recorded step equals the eager one bit for bit, whatever changes between steps") {
    for (const nn::ScheduleKind schedule : {nn::ScheduleKind::cosine, nn::ScheduleKind::one_cycle}) {
      TrainOptions eager = tiny_options(), recorded = tiny_options();
      recorded.cuda_graph = true;
      recorded.schedule.kind = eager.schedule.kind = schedule;
      recorded.schedule.warmup = eager.schedule.warmup = 4;
      recorded.schedule.total = eager.schedule.total = 12;
      const Sequences set = same_tokens(40);
      Learner one(eager, {4, 3}), two(recorded, {4, 3});
      const std::vector<StepResult> want = train(one, set, eager, 12), got = train(two, set, recorded, 12);
      for (std::size_t i = 0; i < want.size(); ++i) {
        CAPTURE(i);
        CHECK_EQ(got[i].tally, want[i].tally);
        CHECK_EQ(got[i].rate, want[i].rate);
        CHECK_EQ(got[i].gradient_norm, want[i].gradient_norm);
      }
      for (const auto& [name, value] : one.state_dict()) CHECK(test::same_bits(two.state_dict().at(name), value));
    }
  }

  TEST_CASE("learner: with each attention, eager and recorded steps agree and none waits for the device") {
    const Sequences set = same_tokens(40);
    for (const std::string& kind : nn::attention_kinds()) {
      if (test::interpreted() && (kind == "softmax" || kind == "local"))
        continue;  // time: the case above, and combiner
      CAPTURE(kind);
      TrainOptions eager = tiny_options();
      nn::AttentionConfig& attention = eager.model.encoder.attention;
      attention.kind = kind;
      attention.nystrom.landmarks = 4;  // fewer than positions, or it is softmax attention
      attention.fsat.lags = 5;
      attention.fsat.columns = 2;
      attention.fsat.window = 1;
      if (kind == "paramixer") attention.heads = 1;
      TrainOptions recorded = eager;
      recorded.cuda_graph = true;
      Learner one(eager, {4, 3}), two(recorded, {4, 3});
      CHECK_EQ(train(one, set, eager, 3).size(), 3);  // handles, caches, and a graph of each shape
      CHECK_EQ(train(two, set, recorded, 3).size(), 3);
      for (Learner* const learner : {&one, &two}) {
        const Batch batch = make_batch(set, {1, 2, 3, 4, 5, 6, 7, 8}, eager.batches);
        const std::uint64_t before = device_waits(test::device());
        for (Index step = 3; step < 6; ++step) learner->train(batch, step);
        CHECK_EQ(device_waits(test::device()), before);
        CHECK_EQ(learner->finish().size(), 3);
        CHECK_GT(device_waits(test::device()), before);
      }
      for (const auto& [name, value] : one.state_dict()) {
        CAPTURE(name);
        CHECK(test::same_bits(two.state_dict().at(name), value));
      }
    }
  }

  TEST_CASE("learner: each precision trains, and only fp32 is fp32") {
    const Sequences set = same_tokens(40);
    std::vector<double> losses;
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
      TrainOptions options = tiny_options();
      options.precision = precision;
      Learner learner(options, {4, 3});
      losses.push_back(train(learner, set, options, 4).back().tally.mean_loss());
      for (const auto& [name, value] : learner.state_dict())
        CHECK((value.dtype() == kFloat32 || name == "optimizer.step"));  // master weights and moments
    }
    CHECK_NE(losses[0], losses[1]);
    CHECK_NE(losses[1], losses[2]);
    CHECK_LT(std::fabs(losses[1] - losses[0]), 0.01);
    CHECK_LT(std::fabs(losses[2] - losses[0]), 0.05);
  }
}

TEST_CASE("evaluation: probabilities are the logits' softmax, zeros where those are not finite" *
          doctest::test_suite("cpu")) {
  const auto rows = probabilities(tensor<float>({0, 1, 2, 1000, 999, 998, NAN, 1, 2, INFINITY, 1, 2}, {4, 3}));
  const double sum = 1 + std::exp(1.0) + std::exp(2.0);
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK_EQ(rows[0][c], doctest::Approx(std::exp(static_cast<double>(c)) / sum).epsilon(1e-14));
    CHECK_EQ(rows[1][c], doctest::Approx(rows[0][2 - c]).epsilon(1e-14));
    CHECK_EQ(rows[2][c], 0);
    CHECK_EQ(rows[3][c], 0);
  }
}

TEST_CASE("evaluation: predictions, tallies and groups" * doctest::test_suite("cpu")) {
  const Tensor logits = tensor<float>({1, 3, 3, 0, -1, -2}, {2, 3});
  CHECK_EQ(predictions(logits), std::vector<std::int64_t>{1, 0});
  CHECK_EQ(predictions(tensor<float>({NAN, 1, 2, 0, NAN, 3}, {2, 3})), std::vector<std::int64_t>{-1, -1});
  Sequences set;
  set.append(std::vector<Token>{1, 2}, 1);
  set.append(std::vector<Token>{2}, 2);
  set.append({}, 0);
  const Batch batch = make_batch(set, {0, 1}, {.pad_multiple = 2});
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
