// What a query of Combiner sees and how much it gives to what: the parts make up the matrix, and the sets are the
// pattern's.
#include <algorithm>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/combiner_cases.h"
#include "subquad/tests/nn/attention/slow_combiner.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using namespace test::combiner;
using Set = std::vector<Index>;

Tensor product(const Tensor& a, const Tensor& b) {
  return matmul(Variable(a), Variable(b)).value();
}

// The sets of query i among the real tokens, each summary as the tokens that it stands for, in one order.
struct Seen {
  Set direct;
  std::vector<Set> spans;
  bool operator==(const Seen&) const = default;
};

Seen by_hand(const Options& o, const Mask& mask, Index i, Index n) {
  const auto real = [&](Set set) {
    std::erase_if(set, [&](Index j) { return !test::slow::is_real(mask, 0, j); });
    return set;
  };
  if (!test::slow::is_real(mask, 0, i)) return {};
  test::slow::Sets sets = test::slow::combiner_sets(o.config, o.causal, i, n);
  const bool has_pair = o.config.pattern == CombinerPattern::logsparse && n > 1 && (!o.causal || i % 2 == 1);
  if (has_pair) {  // the block of one token, which is seen itself
    sets.direct.insert(sets.direct.end(), sets.spans.front().begin(), sets.spans.front().end());
    sets.spans.erase(sets.spans.begin());
  }
  const Index columns = std::min(o.config.segment, n);
  for (const Index token : real(sets.tokens)) {
    Set& row = sets.spans.emplace_back();
    for (Index j = token / columns * columns; j < std::min(n, (token / columns + 1) * columns); ++j) row.push_back(j);
  }
  Seen seen{real(sets.direct), {}};
  std::sort(seen.direct.begin(), seen.direct.end());
  for (const Set& span : sets.spans)
    if (!real(span).empty()) seen.spans.push_back(real(span));
  std::sort(seen.spans.begin(), seen.spans.end());
  return seen;
}

Seen told(const CombinerSight& sight, Index i) {
  Seen seen{sight.direct[static_cast<std::size_t>(i)], {}};
  for (const Index s : sight.summaries[static_cast<std::size_t>(i)])
    seen.spans.push_back(sight.tokens[static_cast<std::size_t>(s)]);
  std::sort(seen.spans.begin(), seen.spans.end());
  return seen;
}

Mask first_sample(const Mask& mask) {
  if (!mask.defined()) return mask;
  return Mask::from_bool(mask.real.to(kCpu).slice(0, 0, 1).contiguous()).to(test::device());
}

TEST_CASE("combiner_sight gives the sets of the pattern") {
  for (const Index n : {1, 2, 9, 17}) {
    const std::vector<Mask> all = {Mask(), test::prefix_mask({(2 * n + 2) / 3}, n),
                                   first_sample(scattered_mask(3, n).to(test::device()))};
    for (const Mask& mask : all)
      for (const Options& o : patterns(4)) {
        if (test::interpreted() && n != 9) continue;
        CAPTURE(o);
        CAPTURE(n);
        const CombinerSight sight = combiner_sight(o.config, o.causal, n, mask);
        REQUIRE(sight.direct.size() == static_cast<std::size_t>(n));
        for (Index i = 0; i < n; ++i) CHECK(told(sight, i) == by_hand(o, mask, i, n));
      }
  }
}

TEST_CASE("combiner_weights: direct + summaries local is the matrix, and its rows are shares") {
  const Index n = test::interpreted() ? 9 : 19;
  for (const Mask& mask : masks(n))
    for (const Options& o : test::interpreted() ? patterns(4) : all_options(4)) {
      CAPTURE(o);
      const Mask here = mask.to(test::device());
      const Inputs in = make_inputs(n, mask, kFloat64);
      const CombinerWeights w = combiner_weights(in.q, in.k, in.v, here, o.config, o.causal, in.learned);
      const double tolerance = test::dot_tolerance(kFloat64, 4 * n);
      const Tensor summarised = product(w.summaries, w.local);
      CombinerLearned same = in.learned;
      same.values = in.v;
      const Tensor want =
          matrix_of({.batch = 3, .heads = 2, .positions = n, .columns = 4, .dtype = kFloat64, .device = test::device()},
                    [&](const Variable& values) {
                      return combiner_attention(in.q, in.k, values, here, o.config, o.causal, same).out;
                    });
      CHECK_CLOSE(add(Variable(w.direct), Variable(summarised)).value(), want, tolerance);
      const Tensor given = add(sum(Variable(w.direct), {3}), sum(Variable(w.summaries), {3})).value();
      for (Index b = 0; b < 3; ++b)
        for (Index h = 0; h < 2; ++h)
          for (Index i = 0; i < n; ++i)
            CHECK(test::at(given, {b, h, i}) ==
                  doctest::Approx(test::slow::is_real(mask, b, i) ? 1 : 0).epsilon(1e-12));
    }
}

TEST_CASE("CombinerAttention tells its decisions of its own q, k and v") {
  const Index n = 11;
  const Variable x(test::normal({2, n, 8}, kFloat64, 1));
  for (const Options& o : patterns(4)) {
    if (test::interpreted() && o.causal) continue;
    CAPTURE(o);
    const auto made = make_module(o, kFloat64);
    const auto& module = dynamic_cast<const CombinerAttention&>(*made);
    const AttentionInput in{x, x, test::prefix_mask({n, 6}, n), {}};
    const CombinerWeights w = module.weights(in);
    CHECK_CLOSE(add(Variable(w.direct), Variable(product(w.summaries, w.local))).value(), module.mixing_matrix(in),
                test::dot_tolerance(kFloat64, 4 * n));
    const CombinerResult result = module.combined(in);
    CHECK_CLOSE(result.out.value(), product(module.mixing_matrix(in), module.project(in).v.value().contiguous()),
                test::dot_tolerance(kFloat64, n));
    if (result.v_span.defined())
      CHECK_CLOSE(product(w.local, module.project(in).v.value().contiguous()), result.v_span.value(),
                  test::dot_tolerance(kFloat64, n));
    CHECK(module.sight(n).direct.size() == static_cast<std::size_t>(n));
    CHECK(module.config().pattern == o.config.pattern);
  }
}

}  // namespace
}  // namespace subquad::nn
