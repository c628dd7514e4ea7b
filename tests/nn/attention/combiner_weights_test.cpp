// What a query of Combiner sees of each token: how much, and in which proportions.
#include <map>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/tests/nn/attention/combiner_cases.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/nn/attention/slow_combiner.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::normal;
using test::prefix_mask;
using test::real_part;
using namespace test::combiner;

// V = I, so that what comes out is the matrix itself.
Variable unit_values(Index n) {
  Tensor identity = zeros({3, 2, n, n}, kFloat64, kCpu);
  for (Index i = 0; i < n; ++i) {
    Tensor one = identity.select(3, i).slice(2, i, i + 1);
    fill(one, 1);
  }
  return Variable(identity);
}

// The index sets of query i, rowmajor's spans, too, spelled out: the row of each token that stands for one.
test::slow::Sets sets_of(const Options& o, Index i, Index n) {
  test::slow::Sets sets = test::slow::combiner_sets(o.config, o.causal, i, n);
  const Index columns = std::min(o.config.segment, n);
  for (const Index token : sets.tokens) {
    std::vector<Index>& row = sets.spans.emplace_back();
    for (Index j = token / columns * columns; j < std::min(n, (token / columns + 1) * columns); ++j) row.push_back(j);
  }
  return sets;
}

TEST_SUITE("cpu") {  // no CUDA kernels yet
  TEST_CASE("combiner_attention with queries of 0 counts: 1 / entries for a token, shared inside a span") {
    const Index n = 21;
    for (const Options& o : all_options(4)) {
      if (o.config.pattern == CombinerPattern::average || o.projects()) continue;
      CAPTURE(o);
      Inputs in = make_inputs(n, {}, kFloat64);
      in.q = Variable(zeros(in.q.shape(), kFloat64, kCpu));
      in.v = unit_values(n);
      Tensor want = zeros({n, n}, kFloat64, kCpu);
      for (Index i = 0; i < n; ++i) {
        const test::slow::Sets sets = sets_of(o, i, n);
        double entries = static_cast<double>(sets.direct.size());
        for (const auto& span : sets.spans) entries += span.empty() ? 0 : 1;
        for (const Index j : sets.direct) want.data<double>()[i * n + j] += 1 / entries;
        for (const auto& span : sets.spans)
          for (const Index j : span) want.data<double>()[i * n + j] += 1 / entries / static_cast<double>(span.size());
      }
      CHECK_CLOSE(in.run(o).value().select(0, 1).select(0, 1), want, 1e-14);
    }
  }

  TEST_CASE("combiner_attention: the queries of a span see its tokens in one proportion, a block of rank 1") {
    const Index n = 21;
    for (const Mask& mask : masks(n))
      for (const Options& o : all_options(4)) {
        const CombinerPattern pattern = o.config.pattern;
        if (pattern == CombinerPattern::mixture || pattern == CombinerPattern::average) continue;  // spans overlap
        if (o.config.own_span || o.projects()) continue;
        CAPTURE(o);
        Inputs in = make_inputs(n, mask, kFloat64);
        in.v = unit_values(n);
        const Tensor matrix = in.run(o).value();
        const auto a = [&](Index i, Index j) { return test::at(matrix, {0, 1, i, j}); };
        const auto total = [&](Index i, const std::vector<Index>& columns) {
          double sum = 0;
          for (const Index j : columns) sum += a(i, j);
          return sum;
        };
        // The first query that uses a span, by its tokens and, in rowmajor, by the one that stands for them.
        std::map<std::pair<std::vector<Index>, Index>, Index> first;
        double worst = 0;
        Index shared = 0;
        for (Index i = 0; i < n; ++i) {
          if (!test::slow::is_real(mask, 0, i)) continue;
          const test::slow::Sets sets = sets_of(o, i, n);
          for (std::size_t s = 0; s < sets.spans.size(); ++s) {
            const std::vector<Index>& span = sets.spans[s];
            const Index token = pattern == CombinerPattern::rowmajor ? sets.tokens[s] : -1;
            const Index other = first.try_emplace({span, token}, i).first->second;
            if (other == i || total(i, span) == 0) continue;
            const double ratio = total(i, span) / total(other, span);
            for (const Index j : span) worst = std::max(worst, std::abs(a(i, j) - ratio * a(other, j)));
            shared += span.size() > 1;
          }
        }
        CHECK(worst < 1e-14);
        CHECK(shared > 0);
      }
    // The control: tokens of the own segment are seen by each query in its own proportion.
    Inputs in = make_inputs(n, {}, kFloat64);
    in.v = unit_values(n);
    const Tensor matrix = in.run({{.segment = 4}, false}).value();
    const auto a = [&](Index i, Index j) { return test::at(matrix, {0, 1, i, j}); };
    CHECK(std::abs(a(0, 0) * a(1, 1) - a(0, 1) * a(1, 0)) > 1e-6);
  }

  TEST_CASE("combiner_attention: tokens that change places inside a segment take their results along") {
    const Index n = 21, segment = 5;
    const auto moved = [&](const Tensor& x) {  // tokens 5 ... 9, the second segment, one place on
      Tensor out = x.clone();
      for (Index i = 0; i < segment; ++i) {
        Tensor row = out.select(2, segment + (i + 1) % segment);
        copy(x.select(2, segment + i), row);
      }
      return out;
    };
    for (const Options& o : all_options(segment)) {
      if (o.config.pattern != CombinerPattern::fixed || o.causal) continue;
      CAPTURE(o);
      const Inputs in = make_inputs(n, {}, kFloat64);
      Inputs other = in;
      for (Variable* x : {&other.q, &other.k, &other.v}) *x = Variable(moved(x->value()));
      const Tensor out = in.run(o).value();
      CHECK_CLOSE(other.run(o).value(), moved(out), 1e-14);
      CHECK(test::largest_error(moved(out), out) > 1e-3);
    }
  }

  TEST_CASE("combiner_attention of equal values is that value, whatever the weights") {
    const Index n = 21;
    for (const Mask& mask : masks(n))
      for (const Options& o : all_options(4)) {
        CAPTURE(o);
        Inputs in = make_inputs(n, mask, kFloat64);
        in.v = Variable(full(in.v.shape(), 0.75, kFloat64, kCpu));
        Tensor want = in.v.value().clone();
        for (Index b = 0; b < 3; ++b)
          for (Index i = 0; i < n; ++i) {
            Tensor rows = want.select(0, b).select(1, i);  // [H, C]
            if (!test::slow::is_real(mask, b, i)) fill(rows, 0);
          }
        CHECK_CLOSE(in.run(o).value(), want, 1e-14);
      }
  }

  TEST_CASE("Combiner's mixing_matrix: rows sum to 1, the whole support is seen, and it mixes values as forward does") {
    const Index n = 14;
    for (const Options& o : all_options(4))
      for (const Mask& mask : {Mask(), prefix_mask({14, 9, 1}, n)}) {
        CAPTURE(o);
        const Inputs in = make_inputs(n, mask, kFloat64);
        const auto module = make_module(o, kFloat64);
        const Variable x(normal({3, n, 8}, kFloat64, 1));
        const Tensor matrix = module->mixing_matrix({x, x, mask, {}});
        double worst = 0;
        for (Index b = 0; b < 3; ++b)
          for (Index h = 0; h < 2; ++h)
            for (Index i = 0; i < n; ++i) {
              if (!test::slow::is_real(mask, b, i)) continue;
              double sum = 0;
              for (Index j = 0; j < n; ++j) {
                const double a = test::at(matrix, {b, h, i, j});
                sum += a;
                const bool support = test::slow::is_real(mask, b, j) && (!o.causal || j <= i);
                CHECK(a >= 0);
                // a last row that does not reach the column is not seen by rowmajor
                if (!support || o.config.pattern != CombinerPattern::rowmajor) CHECK((a > 0) == support);
              }
              worst = std::max(worst, std::abs(sum - 1));
            }
        CHECK(worst < 1e-13);
        // A (x W_v + b_v) W_o + b_o, of a module in eval
        module->eval();
        const StateDict state = module->state_dict();
        const Variable v = add(matmul(x, Variable(state.at("value.weight"))), Variable(state.at("value.bias")));
        Tensor heads = zeros({3, n, 8}, kFloat64, kCpu);
        for (Index b = 0; b < 3; ++b)
          for (Index i = 0; i < n; ++i)
            for (Index e = 0; e < 8; ++e)
              for (Index j = 0; j < n; ++j)
                if (test::slow::is_real(mask, b, j))
                  heads.data<double>()[(b * n + i) * 8 + e] +=
                      test::at(matrix, {b, e / 4, i, j}) * test::at(v.value(), {b, j, e});
        const Variable want =
            add(matmul(Variable(heads), Variable(state.at("out.weight"))), Variable(state.at("out.bias")));
        const Tensor got = module->forward({x, x, mask, {}}).value();
        CHECK_CLOSE(real_part(got, mask), real_part(want.value(), mask), 1e-12);
      }
  }
}

}  // namespace
}  // namespace subquad::nn
