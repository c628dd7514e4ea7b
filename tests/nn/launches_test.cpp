// How much an encoder layer asks of a GPU in training: recorded operations, which are kernels, products and copies.
#include "subquad/autograd/backward.h"
#include "subquad/core/graph.h"
#include "subquad/core/precision.h"
#include "subquad/nn/encoder.h"
#include "subquad/nn/parameter_arena.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

struct Launches {
  std::size_t forward, backward;
};

// Of one layer on a masked batch, in training with dropout; the gradients go to an arena.
Launches launches_of(const AttentionConfig& attention) {
  const Index positions = 40;
  EncoderLayer layer(test::place(kFloat32), {.attention = attention, .hidden = 16, .dropout = 0.1});
  ParameterArena arena(layer);
  const RandomState rng = test::random_state(2);
  const Mask mask = test::prefix_mask({positions, 23}, positions);
  const Variable x(test::normal({2, positions, attention.width}, kFloat32, 1), true);
  const Tensor upstream = test::normal(x.shape(), kFloat32, 2);
  const auto step = [&] { backward(layer(x, mask, rng), upstream); };
  step();  // makes handles and caches
  synchronize(test::device());
  const std::size_t forward = Graph::capture(test::device(), [&] { layer(x, mask, rng); }).size();
  return {forward, Graph::capture(test::device(), step).size() - forward};
}

AttentionConfig config_of(const char* kind) {
  const bool one_head = std::string_view(kind) == "paramixer";
  AttentionConfig config = {.kind = kind, .width = 8, .heads = one_head ? 1 : 2, .max_length = 40, .dropout = 0.1};
  config.nystrom.landmarks = 8;  // more than there are positions would be softmax attention
  return config;
}

TEST_SUITE("cuda") {
  // A layer is to take 15 forward and 25 backward at most. What takes more stands here with what it takes, so that it
  // does not grow: Nystrom has two attentions, landmarks and an inverse, cut for each sample by its mask.
  struct Budget {
    const char* kind;
    std::size_t forward = 15, backward = 25;
  };
  constexpr Budget kBudgets[] = {{"softmax"}, {"nystrom", 17, 26}, {"fsat"}, {"paramixer"}, {"combiner"}, {"local"}};

  TEST_CASE("launches of an encoder layer with each attention") {
    REQUIRE_EQ(std::size(kBudgets), attention_kinds().size());
    for (const Budget& budget : kBudgets) {
      CAPTURE(std::string(budget.kind));
      const Launches launches = launches_of(config_of(budget.kind));
      MESSAGE(std::string(budget.kind), ": ", launches.forward, " forward, ", launches.backward, " backward");
      CHECK_LE(launches.forward, budget.forward);
      CHECK_LE(launches.backward, budget.backward);
    }
  }

  // In bf16 what products read is rounded in launches of its own: x and the weights of a map in one forward, what comes
  // from above in one backward. FSAT rounds for its attention, too.
  constexpr Budget kBf16Budgets[] = {{"softmax"}, {"fsat", 21, 31}, {"paramixer"}, {"combiner", 18, 28}, {"local"}};

  TEST_CASE("launches of an encoder layer in bf16") {
    const PrecisionGuard guard(Precision::bf16);
    for (const Budget& budget : kBf16Budgets) {
      CAPTURE(std::string(budget.kind));
      const Launches launches = launches_of(config_of(budget.kind));
      MESSAGE(std::string(budget.kind), " in bf16: ", launches.forward, " forward, ", launches.backward, " backward");
      CHECK_LE(launches.forward, budget.forward);
      CHECK_LE(launches.backward, budget.backward);
    }
  }

  // In grids q, k and v get gradients from several sides: running maxima and attention along lines, in both directions.
  struct PatternBudget {
    CombinerPattern pattern;
    bool causal = false;
    CombinerSummary summary = CombinerSummary::proj;
    std::size_t forward = 15, backward = 25;
  };
  constexpr PatternBudget kPatternBudgets[] = {{CombinerPattern::fixed},
                                               {CombinerPattern::logsparse},
                                               {CombinerPattern::vertical, false, CombinerSummary::proj, 17, 38},
                                               {CombinerPattern::vertical, true, CombinerSummary::proj, 14, 30},
                                               {CombinerPattern::horizontal, false, CombinerSummary::proj, 17, 38},
                                               {CombinerPattern::mixture, false, CombinerSummary::proj, 23, 54},
                                               {CombinerPattern::average, false, CombinerSummary::proj, 27, 60},
                                               {CombinerPattern::rowmajor, false, CombinerSummary::none, 12, 28},
                                               {CombinerPattern::rowmajor, false, CombinerSummary::wsum, 14, 34},
                                               {CombinerPattern::rowmajor, false, CombinerSummary::proj, 18, 36},
                                               {CombinerPattern::rowmajor, false, CombinerSummary::wsum_proj, 21, 42}};

  TEST_CASE("launches of an encoder layer with each pattern of Combiner") {
    for (const PatternBudget& budget : kPatternBudgets) {
      AttentionConfig config = {.kind = "combiner",
                                .width = 8,
                                .heads = 2,
                                .max_length = 40,
                                .causal = budget.causal,
                                .dropout = 0.1,
                                .combiner = {.pattern = budget.pattern, .summary = budget.summary}};
      const std::string pattern(combiner_pattern_name(budget.pattern));
      CAPTURE(pattern);
      const Launches launches = launches_of(config);
      MESSAGE(pattern, ": ", launches.forward, " forward, ", launches.backward, " backward");
      CHECK_LE(launches.forward, budget.forward);
      CHECK_LE(launches.backward, budget.backward);
    }
  }
}

}  // namespace
}  // namespace subquad::nn
