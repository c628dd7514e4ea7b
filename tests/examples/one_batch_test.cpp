// Each task with each attention, as train_lra sets them up: twenty steps on one batch at least halve its loss. Data are
// tiny here; bench/one_batch.sh does the same at each task's nominal length on real data.
#include <doctest/doctest.h>

#include "subquad/core/rng.h"
#include "subquad/examples/lra/learner.h"
#include "subquad/nn/attention/attention.h"

using namespace subquad;
using namespace subquad::lra;

namespace {

constexpr Index kSamples = 6;
constexpr Index kSteps = 20;

TaskShape shape_of(const std::string& task) {
  if (task == "listops") return {.vocabulary = 16, .classes = 10};
  if (task == "text" || task == "custom") return {.vocabulary = 257, .classes = 2};
  if (task == "retrieval" || task == "imdb-pairs") return {.vocabulary = 257, .classes = 2, .parts = 2};
  if (task == "image") return {.vocabulary = 256, .classes = 10};
  if (task == "pathfinder" || task == "path-x") return {.vocabulary = 256, .classes = 2};
  FAIL("this test knows no data for the task ", task);
  return {};
}

// Sequences of 30 to 40 tokens, those of images all of 36; every sample has tokens of its own and some class.
Sequences samples_of(const std::string& task, const TaskShape& shape) {
  const bool image = task == "image" || task == "pathfinder" || task == "path-x";
  const Token first = image ? 0 : 1;
  Sequences set(first, shape.parts);
  Rng rng(3, stream_id(task));
  for (Index i = 0; i < kSamples; ++i) {
    const auto sequence = [&] {
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(image ? 36 : 30 + rng.below(11)));
      for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng.below(shape.vocabulary - first));
      return bytes;
    };
    const std::vector<std::uint8_t> a = sequence(), b = sequence();
    if (shape.parts == 2)
      set.append_bytes({a, b}, i % shape.classes);
    else
      set.append_bytes({a}, i % shape.classes);
  }
  return set;
}

TrainOptions options_of(const std::string& task, const std::string& attention, const char* rate) {
  std::vector<std::string> args = {"--task",
                                   task,
                                   "--attention",
                                   attention,
                                   "--data",
                                   "data",
                                   "--out",
                                   "run",
                                   "--max-length",
                                   "48",
                                   "--layers",
                                   "1",
                                   "--width",
                                   "16",
                                   "--pad-to",
                                   "48",
                                   "--steps",
                                   "20",
                                   "--learning-rate",
                                   rate,
                                   "--schedule",
                                   "constant",
                                   "--dropout",
                                   "0",
                                   "--attention-dropout",
                                   "0"};
  // None shall see all positions as softmax does.
  if (attention == "nystrom") args.insert(args.end(), {"--landmarks", "8"});
  if (attention == "fsat") args.insert(args.end(), {"--lags", "4", "--columns", "4", "--fsat-window", "1"});
  if (attention == "local") args.insert(args.end(), {"--local-window", "4"});
  if (shape_of(task).parts == 2) args.insert(args.end(), {"--model", "encoder"});
  TrainOptions options;
  REQUIRE(parse_train_options(args, options));
  return options;
}

struct Losses {
  double first = 0;
  double last = 0;
};

Losses train(const std::string& task, const std::string& attention, const char* rate) {
  const TrainOptions options = options_of(task, attention, rate);
  const TaskShape shape = shape_of(task);
  const Sequences set = samples_of(task, shape);
  SampleNumbers all;
  for (Index i = 0; i < set.size(); ++i) all.push_back(i);
  Learner learner(options, shape);
  const Batch batch = make_batch(set, all, options.batches);
  for (Index step = 0; step < kSteps; ++step) learner.train(batch, step);
  const std::vector<StepResult> results = learner.finish();
  REQUIRE_EQ(results.size(), kSteps);
  return {results.front().tally.mean_loss(), results.back().tally.mean_loss()};
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("every task, every attention: twenty steps on one batch at least halve the loss") {
  const std::vector<std::string> attentions = nn::attention_kinds();
  CHECK_GE(attentions.size(), 5);
  for (const std::string& task : task_names())
    for (const std::string& attention : attentions) {
      CAPTURE(task);
      CAPTURE(attention);
      const Losses losses = train(task, attention, "0.01");
      CHECK_LE(losses.last, losses.first / 2);
    }
}

TEST_CASE("every attention: twenty steps at rate 0 leave the loss of one batch as it was") {
  for (const std::string& attention : nn::attention_kinds()) {
    CAPTURE(attention);
    const Losses losses = train("listops", attention, "0");
    CHECK_EQ(losses.last, losses.first);
  }
}

TEST_SUITE_END();
