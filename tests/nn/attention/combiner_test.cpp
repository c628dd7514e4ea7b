#include "subquad/nn/attention/combiner.h"

#include "subquad/kernels/attention/attention.h"
#include "subquad/tests/nn/attention/combiner_cases.h"
#include "subquad/tests/nn/attention/slow_combiner.h"

namespace subquad::nn {
namespace {

using test::dot_tolerance;
using test::prefix_mask;
using namespace test::combiner;

TEST_CASE("combiner_attention equals its index sets: every option, length and mask") {
  std::vector<std::pair<Index, Index>> sizes = {{1, 1}, {2, 2}, {3, 2}, {12, 4}, {17, 3}, {17, 40}, {33, 8}};
  if (test::interpreted()) sizes = {{1, 1}, {10, 3}};
  for (const auto& [n, segment] : sizes)
    for (const Mask& mask : masks(n))
      for (const Options& o : all_options(segment)) {
        CAPTURE(o);
        CAPTURE(n);
        test::for_each_float([&](DType dtype) {
          const Inputs in = make_inputs(n, mask, dtype);
          const Tensor want =
              test::slow::combiner(in.q.value(), in.k.value(), in.v.value(), mask, o.config, o.causal, in.learned);
          CHECK_CLOSE(in.run(o).value(), want, 4 * dot_tolerance(dtype, 8 * n));
        });
      }
}

TEST_CASE("combiner_attention gradients of every option, masked and not") {
  const Index n = test::interpreted() ? 5 : 7;
  for (const Mask& mask : {Mask(), prefix_mask({n, n / 2 + 1, 0}, n), scattered_mask(3, n)})
    for (const Options& o : test::interpreted() ? patterns(3) : all_options(3)) {
      if (test::interpreted() && mask.defined() != o.causal) continue;
      CAPTURE(o);
      const Inputs in = make_inputs(n, mask, kFloat64);
      CHECK_GRADIENTS(
          [&](const std::vector<Variable>& x) -> std::vector<Variable> { return {in.moved_to(o, x).run(o)}; },
          in.leaves(o), test::interpreted() ? GradcheckOptions{.full_limit = 4, .directions = 1} : GradcheckOptions{});
    }
}

TEST_CASE("combiner_attention with one block, or blocks of one token, is softmax attention") {
  const Index n = test::interpreted() ? 7 : 23;
  for (const Mask& mask : masks(n))
    for (const bool causal : {false, true}) {
      const Inputs in = make_inputs(n, mask, kFloat64);
      const Tensor want =
          kernels::attention(in.q.value(), in.k.value(), in.v.value(), mask.to(test::device()), {.causal = causal}).out;
      for (const Index segment : {Index{1}, n, 5 * n})
        for (const Options& o : all_options(segment)) {
          const bool exact_summary =
              o.config.pattern != CombinerPattern::rowmajor || o.config.summary <= CombinerSummary::wsum;
          if (o.causal != causal || o.config.own_span || o.config.pattern == CombinerPattern::logsparse) continue;
          // of one token, every pool of q and k but those with an activation is the token itself
          if (segment == 1 && (o.config.pool > CombinerPool::sum || !exact_summary)) continue;
          CAPTURE(o);
          CHECK_CLOSE(in.run(o).value(), want, dot_tolerance(kFloat64, 8 * n));
        }
    }
  const Inputs two = make_inputs(2, {}, kFloat64);
  for (const bool causal : {false, true})
    CHECK_CLOSE(two.run({{.pattern = CombinerPattern::logsparse}, causal}).value(),
                kernels::attention(two.q.value(), two.k.value(), two.v.value(), {}, {.causal = causal}).out, 1e-14);
  // and where it is not: a block of two tokens, and an own span that counts beside its tokens
  const Inputs three = make_inputs(3, {}, kFloat64);
  const auto error = [&](const Options& o) {
    const Tensor want =
        kernels::attention(three.q.value(), three.k.value(), three.v.value(), {}, {.causal = o.causal}).out;
    return test::largest_error(three.run(o).value(), want);
  };
  CHECK(error({{.pattern = CombinerPattern::logsparse}, true}) > 1e-3);
  CHECK(error({{.segment = 3, .own_span = true}, false}) > 1e-3);
}

TEST_CASE("combiner_attention names the argument that is missing or does not fit") {
  const Variable x(zeros({1, 2, 6, 4}, kFloat32, test::device())),
      longer(zeros({1, 2, 7, 4}, kFloat32, test::device()));
  const auto run = [&](const Variable& q, const Variable& v, const CombinerConfig& config,
                       const CombinerLearned& learned = {}) {
    return combiner_attention(q, x, v, {}, config, false, learned);
  };
  CHECK_THROWS_WITH_AS(run({}, x, {.segment = 2}), "combiner: q is undefined", Error);
  CHECK_THROWS_WITH_AS(run(longer, x, {.segment = 2}), doctest::Contains("combiner: k is [1, 2, 6, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(run(x, longer, {.segment = 2}), doctest::Contains("combiner: v is [1, 2, 7, 4]"), ShapeError);
  CHECK_THROWS_WITH_AS(run(x, x, {.segment = 2, .pool = CombinerPool::deepset_max}, {.pool_q = x}),
                       "combiner: pool_k is undefined", Error);
  CHECK_THROWS_WITH_AS(run(x, x, {.pattern = CombinerPattern::rowmajor, .segment = 2}), "combiner: x is undefined",
                       Error);
}

}  // namespace
}  // namespace subquad::nn
