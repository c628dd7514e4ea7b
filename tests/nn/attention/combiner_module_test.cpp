// CombinerAttention: padding, batches, the future, parameters, dropout, legal options.
#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/combiner_cases.h"
#include "subquad/tests/nn/attention/padding.h"

namespace subquad::nn {
namespace {

using test::normal;
using test::prefix_mask;
using test::real_part;
using test::same_bits;
using test::with_padding;
using namespace test::combiner;

TEST_CASE("Combiner does not see padded positions, whatever stands there") {
  const Index n = test::interpreted() ? 9 : 21;
  for (const Mask& mask : {prefix_mask({n, 2 * n / 3, 0}, n), scattered_mask(3, n).to(test::device())})
    for (const Options& o : test::interpreted() ? patterns(4) : all_options(4)) {
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
      run(0);  // makes the parameters' gradients, to which those below are added: other roundings
      const std::vector<Tensor> want = run(0);
      CHECK_CLOSE(want[1], real_part(want[1], mask), 0);  // padded positions get no gradient
      for (const double padding : {3e38, 1.0, -1e6}) {
        const std::vector<Tensor> got = run(padding);
        for (std::size_t i = 0; i < want.size(); ++i) CHECK_CLOSE(got[i], want[i], 0);
        if (test::interpreted()) break;
      }
    }
}

TEST_CASE("combiner_attention alone: the same bits for any amount of padding and any batch") {
  const Index n = test::interpreted() ? 40 : 100;
  const std::vector<Index> lengths = {n - 10, n / 2 + 7, 7};
  for (const Index segment : {Index{8}, Index{13}})
    for (const Options& o : test::interpreted() ? patterns(segment) : all_options(segment)) {
      if (test::interpreted() && o.causal != (segment == 8)) continue;
      if (o.config.pool >= CombinerPool::deepset_max) continue;  // products of BLAS
      if (o.projects()) continue;
      CAPTURE(o);
      const Mask mask = prefix_mask(lengths, n);
      const Inputs in = make_inputs(n, mask, kFloat32);
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
  for (const Options& o : test::interpreted() ? patterns(6) : all_options(6)) {
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
    if (test::interpreted() && (o.config.summary != CombinerSummary::wsum_proj || o.causal)) continue;
    CAPTURE(o);
    const auto module = make_module(o, kFloat64);
    const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[0], mask, {}}), real); };
    CHECK_MODULE_GRADIENTS(*module, f, {test::leaf({2, 6, 8}, 1)});
  }
}

TEST_CASE("CombinerAttention drops local and direct weights while training, and only then") {
  const Index n = test::interpreted() ? 12 : 30;
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
  CHECK_THROWS_WITH_AS(make({.pattern = CombinerPattern::logsparse, .segment = 7}),
                       "combiner: segment is 7 with pattern logsparse, expected 0: its blocks are of 2, 4, 8, ... "
                       "tokens",
                       Error);
  CHECK_THROWS_WITH_AS(make({.segment = 4, .summary = CombinerSummary::wsum}),
                       "combiner: summary is wsum with pattern fixed, expected proj, which is the default: other "
                       "summaries go with pattern rowmajor alone",
                       Error);
  CHECK_THROWS_WITH_AS(make({.segment = 4, .own_span = true}, true),
                       "combiner: own_span is true with pattern fixed and causal, expected false: it goes with "
                       "patterns fixed and rowmajor that are not causal",
                       Error);
  CHECK_THROWS_AS(make({.pattern = CombinerPattern::vertical, .segment = 4, .own_span = true}), Error);
  CHECK_THROWS_WITH_AS(make({.segment = 4, .attention_dropout = 1}),
                       "combiner: attention_dropout is 1, expected 0 <= p < 1", Error);
}

TEST_CASE("Combiner of an empty batch and of no positions") {
  for (const Options& o : all_options(4)) {
    CAPTURE(o);
    const auto module = make_module(o, kFloat32);
    for (const Shape& shape : {Shape{0, 5, 8}, Shape{2, 0, 8}}) {
      const Variable x(zeros(shape, kFloat32, test::device()), true);
      const Variable out = module->forward({x, x, {}, {}});
      CHECK(out.shape() == shape);
      backward(sum(out));
    }
  }
}

}  // namespace
}  // namespace subquad::nn
