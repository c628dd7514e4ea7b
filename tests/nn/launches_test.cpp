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

// Of one layer on a masked batch of sequences as long as the config allows, in training with dropout; the gradients go
// to an arena. Nothing runs at that length on the interpreter, where it would take minutes: a recording executes none
// of its work, and what must be there before (handles, gradients to add to) a step on a few positions makes, too.
Launches launches_of(const AttentionConfig& attention) {
  const Index positions = attention.max_length, warm = test::interpreted() ? 40 : positions;
  EncoderLayer layer(test::place(kFloat32), {.attention = attention, .hidden = 16, .dropout = 0.1});
  ParameterArena arena(layer);
  const RandomState rng = test::random_state(2);
  const auto input = [&](Index n) { return Variable(test::normal({2, n, attention.width}, kFloat32, 1), true); };
  const auto step = [&](const Variable& x, const Mask& mask, const Tensor& upstream) {
    backward(layer(x, mask, rng), upstream);
  };
  const Variable shorter = input(warm), x = input(positions);
  step(shorter, test::prefix_mask({warm, 23}, warm), test::normal(shorter.shape(), kFloat32, 2));
  const Mask mask = test::prefix_mask({positions, 23}, positions);
  const Tensor upstream = test::normal(x.shape(), kFloat32, 2);
  backward(x, upstream);  // a gradient that the recorded one is added to
  synchronize(test::device());
  const std::size_t forward = Graph::capture(test::device(), [&] { layer(x, mask, rng); }).size();
  return {forward, Graph::capture(test::device(), [&] { step(x, mask, upstream); }).size() - forward};
}

// Landmarks as many as by default, or 8 of the shortest sequences: no fewer than there are positions would be softmax
// attention.
AttentionConfig config_of(std::string_view kind, Index positions) {
  AttentionConfig config = {.kind = std::string(kind),
                            .width = 8,
                            .heads = kind == "paramixer" ? 1 : 2,
                            .max_length = positions,
                            .dropout = 0.1};
  if (positions <= config.nystrom.landmarks) config.nystrom.landmarks = 8;
  return config;
}

constexpr Index kLengths[] = {40, 1024, 4096, 16384};

struct Budget {
  std::string_view kind;
  Launches at[std::size(kLengths)];
};

void check_launches(const Launches& launches, const Launches& budget, const std::string& what) {
  CAPTURE(what);
  MESSAGE(what, ": ", launches.forward, " forward, ", launches.backward, " backward");
  // A BLAS may make two of a long product: of the four of a layer, and of the eight of their gradients.
  const bool one_each = test::interpreted();
  CHECK_LE(launches.forward, budget.forward + (one_each ? 0 : 4));
  CHECK_LE(launches.backward, budget.backward + (one_each ? 0 : 8));
}

template <std::size_t N>
void check_budgets(const Budget (&budgets)[N], const char* precision) {
  REQUIRE_EQ(N, attention_kinds().size());
  for (const Budget& budget : budgets)
    for (std::size_t i = 0; i < std::size(kLengths); ++i)
      check_launches(launches_of(config_of(budget.kind, kLengths[i])), budget.at[i],
                     cat(budget.kind, " in ", precision, ", N ", kLengths[i]));
}

TEST_SUITE("cuda") {
  // A layer is to take 15 forward and 25 backward at most. All stand here with what they take, so that it does not
  // grow. Above it are:
  //
  //   nystrom     two attentions, landmarks and an inverse, cut for each sample by its mask; of long sequences the
  //               sections of keys and of queries are added up, too
  //   fsat        above 4096 positions a transform fits into no block and goes through memory in several launches; from
  //               16384 on the candidates of the top k are a launch of their own
  //   paramixer   above about 7250 positions a chain fits into no block: each of the log2(N) factors has a launch
  //               forward and two backward
  //   combiner    above 4096 positions queries share the gradients of summaries in chunks, which are added up
  constexpr Budget kBudgets[] = {
      {"softmax", {{11, 19}, {11, 19}, {11, 19}, {11, 19}}},  {"nystrom", {{17, 26}, {18, 28}, {18, 28}, {18, 28}}},
      {"fsat", {{15, 25}, {15, 25}, {15, 25}, {20, 30}}},     {"paramixer", {{13, 20}, {13, 22}, {13, 22}, {25, 47}}},
      {"combiner", {{14, 24}, {14, 24}, {14, 24}, {14, 26}}}, {"local", {{11, 19}, {11, 19}, {11, 19}, {11, 19}}}};

  TEST_CASE("launches of an encoder layer with each attention") {
    check_budgets(kBudgets, "fp32");
  }

  // In bf16 what products read is rounded in launches of its own: x and the weights of a map in one forward, what comes
  // from above in one backward. FSAT rounds for its attention, too.
  constexpr Budget kBf16Budgets[] = {
      {"softmax", {{15, 23}, {15, 23}, {15, 23}, {15, 23}}},  {"nystrom", {{21, 30}, {22, 32}, {22, 32}, {22, 32}}},
      {"fsat", {{21, 31}, {21, 31}, {21, 31}, {26, 36}}},     {"paramixer", {{15, 22}, {15, 24}, {15, 24}, {27, 49}}},
      {"combiner", {{18, 28}, {18, 28}, {18, 28}, {18, 30}}}, {"local", {{15, 23}, {15, 23}, {15, 23}, {15, 23}}}};

  TEST_CASE("launches of an encoder layer in bf16") {
    const PrecisionGuard guard(Precision::bf16);
    check_budgets(kBf16Budgets, "bf16");
  }

  // In grids q, k and v get gradients from several sides: running maxima and attention along lines, in both directions.
  // Of long sequences logsparse joins the pieces of its long spans, forward and backward.
  struct PatternBudget {
    CombinerPattern pattern;
    bool causal;
    CombinerSummary summary;
    Launches few, many;  // at 40 and at 4096 positions
  };
  constexpr PatternBudget kPatternBudgets[] = {
      {CombinerPattern::fixed, false, CombinerSummary::proj, {14, 24}, {14, 24}},
      {CombinerPattern::logsparse, false, CombinerSummary::proj, {14, 24}, {16, 28}},
      {CombinerPattern::vertical, false, CombinerSummary::proj, {17, 37}, {17, 37}},
      {CombinerPattern::vertical, true, CombinerSummary::proj, {14, 29}, {14, 29}},
      {CombinerPattern::horizontal, false, CombinerSummary::proj, {17, 37}, {17, 37}},
      {CombinerPattern::mixture, false, CombinerSummary::proj, {23, 53}, {23, 53}},
      {CombinerPattern::average, false, CombinerSummary::proj, {27, 59}, {27, 59}},
      {CombinerPattern::rowmajor, false, CombinerSummary::none, {12, 27}, {12, 27}},
      {CombinerPattern::rowmajor, false, CombinerSummary::wsum, {14, 33}, {14, 33}},
      {CombinerPattern::rowmajor, false, CombinerSummary::proj, {18, 35}, {18, 35}},
      {CombinerPattern::rowmajor, false, CombinerSummary::wsum_proj, {21, 41}, {21, 41}},
  };

  TEST_CASE("launches of an encoder layer with each pattern of Combiner") {
    for (const PatternBudget& budget : kPatternBudgets)
      for (const Index positions : {40, 4096}) {
        AttentionConfig config = config_of("combiner", positions);
        config.causal = budget.causal;
        config.combiner = {.pattern = budget.pattern, .summary = budget.summary};
        check_launches(launches_of(config), positions == 40 ? budget.few : budget.many,
                       cat(combiner_pattern_name(budget.pattern), budget.causal ? " causal" : "", ", ",
                           combiner_summary_name(budget.summary), ", N ", positions));
      }
  }
}

}  // namespace
}  // namespace subquad::nn
