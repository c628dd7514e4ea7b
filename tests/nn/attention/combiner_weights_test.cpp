// What a query of Combiner sees of each token: how much, and in which proportions.
#include <cmath>
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

struct ByHand {
  Tensor dq, dv;  // float64
};

// Adds the gradients that the entries of query i bring to head (b, h) with q = 0, by hand. Each of its M entries, token
// or span, weighs 1 / M, and each token of a span 1 / |S|, so a span's value is their mean. `up` is dout_i.
//
//   dq_i = sum over entries of (up . value - up . out_i) / M key / sqrt(E)
//   dq_S = sum over the span of (up . v_j - up . v_S) / (M |S|) k_j / sqrt(E)
//
// All queries are equal, so dq_S goes to the token that the running maximum meets first: the farthest from i. A key's
// gradient is a product with a query: 0.
void add_gradients(const Inputs& in, const Options& o, Index b, Index h, Index i, const std::vector<double>& up,
                   ByHand& grads) {
  const Index n = in.q.dim(2), width = in.q.dim(3), columns = std::min(o.config.segment, n);
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  const auto key = [&](Index j, Index e) { return test::at(in.k.value(), {b, h, j, e}); };
  const auto add = [&](Tensor& to, Index j, Index e, double x) {
    to.data<double>()[((b * in.q.dim(1) + h) * n + j) * width + e] += x;
  };
  const auto upped = [&](Index j) {  // up . v_j
    double sum = 0;
    for (Index e = 0; e < width; ++e) sum += up[static_cast<std::size_t>(e)] * test::at(in.v.value(), {b, h, j, e});
    return sum;
  };
  const auto mean = [&](const std::vector<Index>& tokens) {
    double sum = 0;
    for (const Index j : tokens) sum += upped(j) / static_cast<double>(tokens.size());
    return sum;
  };
  const test::slow::Sets sets = test::slow::combiner_sets(o.config, o.causal, i, n);
  std::vector<std::vector<Index>> entries;  // tokens first, each a set of itself
  for (const Index j : sets.direct)
    if (test::slow::is_real(in.mask, b, j)) entries.push_back({j});
  const std::size_t direct = entries.size();
  for (std::vector<Index> span : sets.spans) {
    std::erase_if(span, [&](Index j) { return !test::slow::is_real(in.mask, b, j); });
    if (!span.empty()) entries.push_back(span);
  }
  const double weight = 1 / static_cast<double>(entries.size());
  double out = 0;
  for (const auto& entry : entries) out += weight * mean(entry);
  for (std::size_t s = 0; s < entries.size(); ++s) {
    const std::vector<Index>& entry = entries[s];
    const bool vertical = o.config.pattern == CombinerPattern::vertical;
    const bool before = vertical ? entry[0] / columns < i / columns : entry[0] % columns < i % columns;
    const Index met_first = before ? entry.front() : entry.back();
    for (Index e = 0; e < width; ++e) {
      double largest = key(entry[0], e);
      for (const Index j : entry) {
        const double share = weight / static_cast<double>(entry.size());
        largest = std::max(largest, key(j, e));
        add(grads.dv, j, e, share * up[static_cast<std::size_t>(e)]);
        if (s >= direct) add(grads.dq, met_first, e, share * (upped(j) - mean(entry)) * key(j, e) * scale);
      }
      add(grads.dq, i, e, weight * (mean(entry) - out) * largest * scale);
    }
  }
}

// Of `average`: half of each of its two attentions.
ByHand gradients_by_hand(const Inputs& in, Options o, const Tensor& dout) {
  ByHand grads = {zeros(in.q.shape(), kFloat64, kCpu), zeros(in.q.shape(), kFloat64, kCpu)};
  for (const CombinerPattern half : {CombinerPattern::vertical, CombinerPattern::horizontal})
    for (Index b = 0; b < in.q.dim(0); ++b)
      for (Index h = 0; h < in.q.dim(1); ++h)
        for (Index i = 0; i < in.q.dim(2); ++i) {
          if (!test::slow::is_real(in.mask, b, i)) continue;
          o.config.pattern = half;
          std::vector<double> up;
          for (Index e = 0; e < in.q.dim(3); ++e) up.push_back(test::at(dout, {b, h, i, e}) / 2);
          add_gradients(in, o, b, h, i, up, grads);
        }
  return grads;
}

TEST_SUITE("cpu") {  // what weights mean, by hundreds of forwards: kernels have cases of their own
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

  TEST_CASE("combiner_attention: average with queries of 0 equals its index sets, and its gradients those by hand") {
    for (const auto& [n, segment] : std::vector<std::pair<Index, Index>>{{1, 1}, {12, 4}, {17, 3}, {17, 40}, {21, 5}})
      for (const Mask& mask : masks(n))
        for (const bool causal : {false, true})
          test::for_each_float([&](DType dtype) {
            CAPTURE(n);
            CAPTURE(causal);
            CAPTURE(mask.defined());
            const Options o = {{.pattern = CombinerPattern::average, .segment = segment}, causal};
            Inputs in = make_inputs(n, mask, dtype);
            in.q = Variable(zeros(in.q.shape(), dtype, kCpu), true);
            const Variable out = in.run(o);
            const Tensor want =
                test::slow::combiner(in.q.value(), in.k.value(), in.v.value(), mask, o.config, causal, in.learned);
            const Tensor dout = normal(out.shape(), dtype, 9);
            backward(out, dout);
            const ByHand grads = gradients_by_hand(in, o, dout);
            const double tolerance = 4 * test::dot_tolerance(dtype, 8 * n);
            CHECK_CLOSE(out.value(), want, tolerance);
            CHECK_CLOSE(in.q.grad(), grads.dq, tolerance);
            CHECK_CLOSE(in.k.grad(), zeros(in.k.shape(), kFloat64, kCpu), 0);
            CHECK_CLOSE(in.v.grad(), grads.dv, tolerance);
            if (n > 1) CHECK(test::largest_error(grads.dq, zeros(in.q.shape(), kFloat64, kCpu)) > 1e-2);
          });
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
