#include "subquad/nn/attention/combiner.h"

#include <limits>
#include <map>
#include <ostream>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/kernels/attention/attention.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/nn/attention/slow_combiner.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::dot_tolerance;
using test::normal;
using test::prefix_mask;
using test::real_part;
using test::same_bits;
using test::with_padding;

struct Options {
  CombinerConfig config;
  bool causal = false;

  bool projects() const {
    return config.pattern == CombinerPattern::rowmajor && config.summary >= CombinerSummary::proj;
  }
  friend std::ostream& operator<<(std::ostream& out, const Options& o) {
    return out << combiner_pattern_name(o.config.pattern) << " segment " << o.config.segment << " causal " << o.causal
               << " pool " << combiner_pool_name(o.config.pool) << " summary "
               << combiner_summary_name(o.config.summary) << " own_span " << o.config.own_span;
  }
};

// Every legal combination.
std::vector<Options> all_options(Index segment) {
  std::vector<Options> all;
  for (const bool causal : {false, true}) {
    for (int pool = 0; pool < 9; ++pool)
      all.push_back({{.segment = segment, .pool = static_cast<CombinerPool>(pool)}, causal});
    for (const CombinerPattern pattern :
         {CombinerPattern::logsparse, CombinerPattern::vertical, CombinerPattern::horizontal, CombinerPattern::mixture,
          CombinerPattern::average})
      all.push_back({{.pattern = pattern, .segment = segment}, causal});
    for (int summary = 0; summary < 4; ++summary)
      all.push_back(
          {{.pattern = CombinerPattern::rowmajor, .segment = segment, .summary = static_cast<CombinerSummary>(summary)},
           causal});
  }
  all.push_back({{.segment = segment, .own_span = true}, false});
  all.push_back({{.pattern = CombinerPattern::rowmajor, .segment = segment, .own_span = true}, false});
  return all;
}

// One of each pattern, for tests that every pool and summary would only repeat.
std::vector<Options> patterns(Index segment) {
  std::vector<Options> all;
  for (const Options& o : all_options(segment))
    if (o.config.pool == CombinerPool::max && o.config.summary == CombinerSummary::proj) all.push_back(o);
  return all;
}

Mask scattered_mask(Index batch, Index n) {
  Tensor real = zeros({batch, n}, kBool, kCpu);
  for (Index b = 0; b < batch; ++b)
    for (Index i = 0; i < n; ++i) real.data<bool>()[b * n + i] = (i + b) % 3 != 0 && i / 5 % 4 != b;
  return Mask::from_bool(real);
}

std::vector<Mask> masks(Index n) {
  return {Mask(), prefix_mask({n, 2 * n / 3, 0}, n), scattered_mask(3, n)};
}

struct Inputs {
  Variable q, k, v;
  CombinerLearned learned;
  Mask mask;

  Variable run(const Options& o) const { return combiner_attention(q, k, v, mask, o.config, o.causal, learned).out; }
  // What the option reads, and that is all that gets a gradient.
  std::vector<Variable> leaves(const Options& o) const {
    std::vector<Variable> all = {q, k, v};
    if (o.projects()) all.insert(all.end(), {learned.x, learned.w_o, learned.w_k, learned.gamma, learned.beta});
    if (o.config.pool >= CombinerPool::deepset_max) all.insert(all.end(), {learned.pool_q, learned.pool_k});
    return all;
  }
  Inputs moved_to(const Options& o, const std::vector<Variable>& leaves) const {
    Inputs in = *this;
    in.q = leaves[0], in.k = leaves[1], in.v = leaves[2];
    if (o.projects())
      in.learned = {.x = leaves[3], .w_o = leaves[4], .w_k = leaves[5], .gamma = leaves[6], .beta = leaves[7]};
    if (o.config.pool >= CombinerPool::deepset_max) in.learned = {.pool_q = leaves[3], .pool_k = leaves[4]};
    return in;
  }
};

Inputs make_inputs(Index n, const Mask& mask, DType dtype) {
  const Index width = 4, value_width = 4;
  const auto draw = [&](const Shape& shape, std::uint64_t seed) { return Variable(normal(shape, dtype, seed), true); };
  Inputs in{draw({3, 2, n, width}, 1), draw({3, 2, n, width}, 2), draw({3, 2, n, value_width}, 3), {}, mask};
  in.learned.pool_q = draw({width, width}, 4);
  in.learned.pool_k = draw({width, width}, 5);
  in.learned.x = draw({3, n, 6}, 6);
  in.learned.w_o = draw({2 * value_width, 6}, 7);
  in.learned.w_k = draw({6, 2 * width}, 8);
  in.learned.gamma = draw({6}, 9);
  in.learned.beta = draw({6}, 10);
  return in;
}

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

AttentionConfig module_config(const Options& o) {
  return {.kind = "combiner", .width = 8, .heads = 2, .causal = o.causal, .combiner = o.config};
}

std::unique_ptr<Attention> make_module(const Options& o, DType dtype) {
  auto made = make_attention(test::place(dtype, 4), module_config(o));
  test::randomise(*made);
  return made;
}

TEST_SUITE("cpu") {  // no CUDA kernels yet
  TEST_CASE("combiner_attention equals its index sets: every option, length and mask") {
    for (const auto& [n, segment] :
         std::vector<std::pair<Index, Index>>{{1, 1}, {2, 2}, {3, 2}, {12, 4}, {17, 3}, {17, 40}, {33, 8}})
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
    const Index n = 7;
    for (const Mask& mask : {Mask(), prefix_mask({7, 4, 0}, n), scattered_mask(3, n)})
      for (const Options& o : all_options(3)) {
        CAPTURE(o);
        const Inputs in = make_inputs(n, mask, kFloat64);
        CHECK_GRADIENTS(
            [&](const std::vector<Variable>& x) -> std::vector<Variable> { return {in.moved_to(o, x).run(o)}; },
            in.leaves(o));
      }
  }

  TEST_CASE("combiner_attention with one block, or blocks of one token, is softmax attention") {
    const Index n = 23;
    for (const Mask& mask : masks(n))
      for (const bool causal : {false, true}) {
        const Inputs in = make_inputs(n, mask, kFloat64);
        const Tensor want = kernels::attention(in.q.value(), in.k.value(), in.v.value(), mask, {.causal = causal}).out;
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

  TEST_CASE("Combiner does not see padded positions, whatever stands there") {
    const Index n = 21;
    for (const Mask& mask : {prefix_mask({21, 13, 0}, n), scattered_mask(3, n)})
      for (const Options& o : all_options(4)) {
        CAPTURE(o);
        const auto module = make_module(o, kFloat32);
        const Tensor x = normal({3, n, 8}, kFloat32, 1);
        const Variable upstream(real_part(normal(x.shape(), kFloat32, 2), mask));
        const auto run = [&](double padding) {
          const Variable in(with_padding(x, mask, padding), true);
          module->zero_grad();
          const Variable out = module->forward({in, in, mask, {}});
          backward(sum(mul(out, upstream)));
          std::vector<Tensor> results = {real_part(out.value(), mask), in.grad()};
          for (const Variable& p : module->parameters()) results.push_back(p.grad().clone());
          return results;
        };
        const std::vector<Tensor> want = run(0);
        CHECK_CLOSE(want[1], real_part(want[1], mask), 0);  // padded positions get no gradient
        for (const double padding : {1.0, -1e6, 3e38}) {
          const std::vector<Tensor> got = run(padding);
          for (std::size_t i = 0; i < want.size(); ++i) CHECK_CLOSE(got[i], want[i], 0);
        }
      }
  }

  TEST_CASE("combiner_attention alone: the same bits for any amount of padding and any batch") {
    const std::vector<Index> lengths = {90, 57, 7};
    for (const Index segment : {Index{8}, Index{13}})
      for (const Options& o : all_options(segment)) {
        if (o.config.pool >= CombinerPool::deepset_max) continue;  // products of BLAS
        if (o.projects()) continue;
        CAPTURE(o);
        const Mask mask = prefix_mask({90, 57, 7}, 100);
        const Inputs in = make_inputs(100, mask, kFloat32);
        const Tensor dout = normal(in.v.shape(), kFloat32, 9);
        const auto run = [&](const Inputs& x, const Tensor& upstream) -> std::vector<Tensor> {
          const Variable out = x.run(o);
          backward(out, upstream);
          return {out.value(), x.q.grad(), x.k.grad(), x.v.grad()};
        };
        const std::vector<Tensor> want = run(in, dout);
        for (Index b = 0; b < 3; ++b) {
          const auto cut = [&](const Tensor& t) {
            return t.slice(0, b, b + 1).slice(2, 0, lengths[static_cast<std::size_t>(b)]).contiguous();
          };
          const auto alone = [&](const Variable& x) { return Variable(cut(x.value()), true); };
          const std::vector<Tensor> got = run({alone(in.q), alone(in.k), alone(in.v), {}, {}}, cut(dout));
          for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], cut(want[i])));
        }
      }
  }

  TEST_CASE("causal Combiner sees no future, bit for bit") {
    const Index n = 40, from = 23;
    for (const Options& o : all_options(6)) {
      if (!o.causal) continue;
      CAPTURE(o);
      const Inputs in = make_inputs(n, {}, kFloat32);
      Inputs other = make_inputs(n, {}, kFloat32);
      for (const Variable& x : {other.q, other.k, other.v}) {
        Tensor late = Variable(x).mutable_value().slice(2, from, n);
        fill(late, 3);
      }
      Tensor late = other.learned.x.mutable_value().slice(1, from, n);
      fill(late, 3);
      CHECK(same_bits(other.run(o).value().slice(2, 0, from), in.run(o).value().slice(2, 0, from)));
    }
  }

  TEST_CASE("CombinerAttention gradients with respect to its parameters") {
    const Mask mask = prefix_mask({6, 4}, 6);
    const Variable real(mask.real.unsqueeze(2).to(kFloat64));
    for (const Options& o : all_options(2)) {
      CAPTURE(o);
      const auto module = make_module(o, kFloat64);
      const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[0], mask, {}}), real); };
      CHECK_MODULE_GRADIENTS(*module, f, {test::leaf({2, 6, 8}, 1)});
    }
  }

  TEST_CASE("CombinerAttention drops local and direct weights while training, and only then") {
    const Index n = 30;
    for (Options o : patterns(5)) {
      CAPTURE(o);
      o.config.attention_dropout = 0.5;
      const auto module = make_module(o, kFloat32);
      const Variable x(normal({2, n, 8}, kFloat32, 1));
      const auto run = [&](Index step) { return module->forward({x, x, {}, test::random_state(2, step)}).value(); };
      CHECK(same_bits(run(1), run(1)));
      CHECK(!same_bits(run(1), run(2)));
      CHECK_THROWS_WITH_AS(module->forward({x, x, {}, {}}), doctest::Contains("needs a RandomState"), Error);
      module->eval();
      const Tensor quiet = module->forward({x, x, {}, {}}).value();
      o.config.attention_dropout = 0;
      CHECK(same_bits(make_module(o, kFloat32)->forward({x, x, {}, {}}).value(), quiet));
    }
  }

  TEST_CASE("Combiner chooses its segment by max_length and says which options are legal") {
    CHECK(combiner_segment({}, 1) == 1);
    CHECK(combiner_segment({}, 1024) == 32);
    CHECK(combiner_segment({}, 2048) == 64);
    CHECK(combiner_segment({}, 4096) == 64);
    CHECK(combiner_segment({.segment = 7}, 0) == 7);
    const auto make = [](const CombinerConfig& config, bool causal = false) {
      return make_attention(test::place(kFloat32),
                            {.kind = "combiner", .width = 8, .causal = causal, .combiner = config});
    };
    CHECK_THROWS_WITH_AS(make({}), doctest::Contains("combiner: segment is 0 and max_length is 0, expected"), Error);
    CHECK_NOTHROW(make({.pattern = CombinerPattern::logsparse}));
    CHECK_THROWS_WITH_AS(make({.segment = -1}), "combiner: segment is -1, expected 0 or more", Error);
    CHECK_THROWS_WITH_AS(make({.pattern = CombinerPattern::logsparse, .pool = CombinerPool::mean}),
                         "combiner: pool is mean with pattern logsparse, expected max: other pools go with pattern "
                         "fixed alone",
                         Error);
    CHECK_THROWS_WITH_AS(make({.segment = 4, .own_span = true}, true),
                         "combiner: own_span is true with pattern fixed and causal, expected false: it goes with "
                         "patterns fixed and rowmajor that are not causal",
                         Error);
    CHECK_THROWS_AS(make({.pattern = CombinerPattern::vertical, .segment = 4, .own_span = true}), Error);
    CHECK_THROWS_WITH_AS(make({.segment = 4, .attention_dropout = 1}),
                         "combiner: attention_dropout is 1, expected 0 <= p < 1", Error);
  }

  TEST_CASE("combiner_attention names the argument that is missing or does not fit") {
    const Variable x(zeros({1, 2, 6, 4}, kFloat32, kCpu)), longer(zeros({1, 2, 7, 4}, kFloat32, kCpu));
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

  TEST_CASE("Combiner of an empty batch and of no positions") {
    for (const Options& o : all_options(4)) {
      CAPTURE(o);
      const auto module = make_module(o, kFloat32);
      for (const Shape& shape : {Shape{0, 5, 8}, Shape{2, 0, 8}}) {
        const Variable x(zeros(shape, kFloat32, kCpu), true);
        const Variable out = module->forward({x, x, {}, {}});
        CHECK(out.shape() == shape);
        backward(sum(out));
      }
    }
  }
}

}  // namespace
}  // namespace subquad::nn
