#include "subquad/nn/attention/fsat.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/attention/fsat_cases.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/support/threads.h"

namespace subquad::nn {
namespace {

using namespace fsat_cases;
using test::prefix_mask;
using test::random_state;
using test::real_part;

TEST_CASE("FsatAttention equals the double loop, and mixing_matrix does") {
  for (const Case& c : cases()) {
    CAPTURE(c.positions);
    CAPTURE(c.fsat.lags);
    test::for_each_float([&](DType dtype) {
      const auto module = c.attention(dtype);
      const Tensor x = c.input(dtype);
      const Variable in(x);
      const test::slow::Weights weights(module->state_dict());
      const double tolerance = test::dot_tolerance(dtype, 64 * std::max<Index>(c.positions, 1));
      const Tensor got = module->forward({in, in, c.mask(), {}}).value();
      CHECK_CLOSE(real_part(got, c.mask()), real_part(slow_module(x, weights, c, c.mask()), c.mask()), tolerance);
      CHECK_CLOSE(module->mixing_matrix({in, in, c.mask(), {}}), slow_matrix(x, weights, c, c.mask()), tolerance);
    });
  }
}

// With scores in the logits (mode bias) this holds where they are 0.
TEST_CASE("FsatAttention with all lags or all columns is SoftmaxAttention, gradients included") {
  const std::vector<FsatConfig> covering = {{.cross = 3, .hidden = 2, .lags = 11, .columns = 3, .window = 1},
                                            {.cross = 3, .hidden = 2, .lags = 90, .columns = 0, .window = 3},
                                            {.cross = 3, .hidden = 2, .lags = 0, .columns = 11, .window = -1},
                                            {.cross = 3, .hidden = 2, .lags = 4, .columns = 12, .window = 0}};
  const auto check = [](const Case& c, DType dtype) {
    const auto module = c.attention(dtype);
    if (c.fsat.mode == FsatMode::bias)
      for (Variable p : module->parameters())
        if (p.name().ends_with(".u") || p.name().ends_with(".w2")) fill(p.mutable_value(), 0);
    const auto softmax = make_attention(test::place(kFloat64), {.width = c.width, .heads = c.heads});
    StateDict shared;
    for (const auto& [name, value] : module->state_dict())
      if (softmax->state_dict().contains(name)) shared.insert_or_assign(name, value.to(kFloat64));
    softmax->load_state_dict(shared);
    const Mask mask = c.mask();
    const Tensor x = c.input(dtype), upstream = real_part(c.input(dtype, 2), mask);
    const auto run = [&](Attention& attention, DType in_dtype) {
      const Variable in(x.to(in_dtype), true);
      const Variable out = attention.forward({in, in, mask, {}});
      backward(sum(mul(out, Variable(upstream.to(in_dtype)))));
      std::vector<Tensor> results = {real_part(out.value(), mask), in.grad()};
      for (const Variable& p : attention.parameters())
        if (shared.contains(p.name())) results.push_back(p.grad());
      return results;
    };
    const std::vector<Tensor> got = run(*module, dtype), want = run(*softmax, kFloat64);
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i)
      CHECK_CLOSE(got[i], want[i], test::dot_tolerance(dtype, 16 * c.positions));
  };
  for (FsatConfig options : covering)
    for (const FsatMode mode : {FsatMode::straight_through, FsatMode::bias})
      for (const bool holes : {false, true}) {
        options.mode = mode;
        test::for_each_float([&](DType dtype) { check({.fsat = options, .holes = holes}, dtype); });
      }
}

TEST_CASE("FsatAttention gradients where they are true ones: mode bias, nothing truncated") {
  const Case small{.lengths = {4, 2},
                   .positions = 4,
                   .width = 2,
                   .heads = 1,
                   .fsat = {.cross = 1, .hidden = 2, .lags = 2, .columns = 1, .window = 0}};
  for (Case c : test::interpreted() ? std::vector<Case>{small} : cases()) {
    if (c.positions * c.batch() == 0 || c.positions > 20) continue;
    CAPTURE(c.fsat.lags);
    c.fsat.mode = FsatMode::bias;
    c.fsat.truncate = false;
    const Mask mask = c.mask();
    const Variable real(mask.real.unsqueeze(2).to(kFloat64));  // padded results are unspecified
    for (const double dropout : {0.0, 0.4}) {
      c.fsat.attention_dropout = dropout;
      const auto module = c.attention(kFloat64);
      const RandomState rng = random_state(c.batch());
      const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[1], mask, rng}), real); };
      CHECK_MODULE_GRADIENTS(*module, f, {Variable(c.input(kFloat64, 1), true), Variable(c.input(kFloat64, 2), true)});
    }
  }
}

TEST_CASE("FsatAttention: truncation keeps the scores' gradient out of the input and changes nothing else") {
  const auto run = [](bool truncate) {
    Case c;
    c.fsat.truncate = truncate;
    const auto module = c.attention(kFloat64);
    const Variable in(c.input(kFloat64), true);
    const Variable out = module->forward({in, in, c.mask(), {}});
    backward(sum(square(out)));
    std::vector<Tensor> results = {out.value(), in.grad()};
    for (const Variable& p : module->parameters()) results.push_back(p.grad());
    return results;
  };
  const std::vector<Tensor> cut = run(true), whole = run(false);
  for (std::size_t i = 0; i < cut.size(); ++i)
    if (i != 1) CHECK_CLOSE(cut[i], whole[i], 0);
  CHECK(test::largest_error(cut[1], whole[1]) > 1e-3);
}

TEST_CASE("FsatAttention: a cyclic shift moves columns along and leaves lags alone") {
  const Case c{.lengths = {11}};
  const auto module = c.attention(kFloat64);
  const Tensor x = c.input(kFloat64);
  Tensor shifted = empty_like(x);
  for (Index i = 0; i < 11; ++i) {
    Tensor row = shifted.select(1, (i + 4) % 11);
    copy(x.select(1, i), row);
  }
  const auto decide = [&](const Tensor& input) { return module->decide({Variable(input), Variable(input), {}, {}}); };
  const auto plain = decide(x), moved = decide(shifted);
  CHECK_CLOSE(moved.scores.lag.value(), plain.scores.lag.value(), 1e-13);
  CHECK(test::same_bits(moved.chosen.lags, plain.chosen.lags));
  for (Index j = 0; j < 11; ++j)
    CHECK_CLOSE(moved.scores.col.value().select(2, (j + 4) % 11), plain.scores.col.value().select(2, j), 1e-13);
}

TEST_CASE("FsatAttention takes what there is when a sample is shorter than its budget") {
  const Case c{.lengths = {3, 1, 0}, .positions = 5, .fsat = {.lags = 7, .columns = 4, .window = 3}};
  const auto module = c.attention(kFloat64);
  const Variable x(c.input(kFloat64));
  const LagColumns chosen = module->decide({x, x, c.mask(), {}}).chosen;
  const auto row = [&](const Tensor& list, Index b) { return list.select(0, b).select(0, 1).to(kCpu); };
  CHECK(test::same_bits(row(chosen.lags, 0), tensor<Index>({0, 1, 2, -1, -1}, {5})));  // room for N, no more
  CHECK(test::same_bits(row(chosen.lags, 1), tensor<Index>({0, -1, -1, -1, -1}, {5})));
  CHECK(test::same_bits(row(chosen.columns, 0), tensor<Index>({0, 1, 2, -1}, {4})));
  CHECK(test::same_bits(row(chosen.columns, 2), tensor<Index>({-1, -1, -1, -1}, {4})));
}

TEST_CASE("FsatAttention: a row has the keys that lags and columns name, each of them once") {
  Rng rng(3);
  for (int draw = 0; draw < (test::interpreted() ? 5 : 20); ++draw) {
    CAPTURE(draw);
    const Index n = 1 + rng.below(25);
    Case c{.lengths = {n, 1 + rng.below(n)}, .positions = n};
    c.fsat = {.cross = 3, .hidden = 2, .lags = rng.below(12), .columns = 1 + rng.below(12), .window = -1};
    const auto module = c.attention(kFloat64);
    const Variable x(c.input(kFloat64));
    const LagColumns chosen = module->decide({x, x, c.mask(), {}}).chosen;
    const Tensor matrix = test::doubles(module->mixing_matrix({x, x, c.mask(), {}}));
    const auto numbers = [](const Tensor& chosen_list, Index b, Index h) {
      const Tensor list = chosen_list.to(kCpu);
      std::set<Index> all;
      for (Index s = 0; s < list.dim(2); ++s) all.insert(list.view<const Index, 3>()(b, h, s));
      all.erase(-1);
      return all;
    };
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < c.heads; ++h) {
        const Index length = c.lengths[static_cast<std::size_t>(b)];
        const std::set<Index> lags = numbers(chosen.lags, b, h), columns = numbers(chosen.columns, b, h);
        CHECK(static_cast<Index>(lags.size()) == std::min(c.fsat.lags, length));
        CHECK(static_cast<Index>(columns.size()) == std::min(c.fsat.columns, length));
        for (Index i = 0; i < length; ++i) {
          std::set<Index> want = columns, got;
          for (const Index lag : lags) want.insert((i + lag) % length);
          for (Index j = 0; j < n; ++j)
            if (matrix.view<const double, 4>()(b, h, i, j) != 0) got.insert(j);
          CHECK(got == want);
          CHECK(got.size() >= std::max(lags.size(), columns.size()));
          CHECK(static_cast<Index>(got.size()) <= std::min(length, c.fsat.lags + c.fsat.columns));
        }
      }
  }
}

TEST_CASE("FsatAttention of one token is that token's value") {
  for (const FsatMode mode : {FsatMode::straight_through, FsatMode::bias}) {
    Case c{.lengths = {1, 1, 1}, .positions = 1};
    c.fsat.mode = mode;
    const auto module = c.attention(kFloat64);
    const Variable x(c.input(kFloat64));
    CHECK_CLOSE(module->mixing_matrix({x, x, {}, {}}), full({3, 2, 1, 1}, 1, kFloat64, kCpu), 0);
  }
}

TEST_CASE("FsatAttention: a budget beyond any memory takes all there is") {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  Case c;
  c.fsat = {.cross = 3, .hidden = 4, .lags = kMost, .columns = kMost, .window = kMost / 2};
  const auto greedy = c.attention(kFloat64);
  c.fsat.lags = c.fsat.columns = c.positions;
  c.fsat.window = -1;
  const auto enough = c.attention(kFloat64);
  const Variable x(c.input(kFloat64));
  const auto out = [&](const FsatAttention& module) { return module.forward({x, x, c.mask(), {}}).value(); };
  CHECK(test::same_bits(out(*greedy), out(*enough)));
}

TEST_CASE("FsatAttention: noise moves the choice while training, never a logit") {
  Case c{.lengths = {40, 40}, .positions = 40};
  c.fsat.window = -1;
  c.fsat.gamma = 50;
  const auto noisy = c.attention(kFloat32);
  c.fsat.gamma = 0;
  const auto quiet = c.attention(kFloat32);
  const Variable x(c.input(kFloat32));
  const auto lags = [&](const FsatAttention& module, const RandomState& rng) {
    return module.decide({x, x, c.mask(), rng}).chosen.lags;
  };
  const Tensor plain = lags(*quiet, {});
  const RandomState rng = random_state(2);
  CHECK(!test::same_bits(lags(*noisy, rng), plain));
  CHECK(test::same_bits(lags(*noisy, rng), lags(*noisy, rng)));
  CHECK(!test::same_bits(lags(*noisy, rng), lags(*noisy, random_state(2, 2))));
  CHECK(test::same_bits(noisy->decide({x, x, c.mask(), rng}).scores.lag.value(),
                        quiet->decide({x, x, c.mask(), rng}).scores.lag.value()));
  // Sample 7's noise does not depend on where in a batch it stands.
  const auto second = [](const Tensor& t) { return t.slice(0, 1, 2); };
  const Variable alone(second(x.value()).contiguous());
  CHECK(test::same_bits(second(lags(*noisy, random_state(2, 1, 6))),
                        noisy->decide({alone, alone, {}, random_state(1, 1, 7)}).chosen.lags));
  CHECK_THROWS_WITH_AS(lags(*noisy, {}),
                       "fsat: '' with gamma = 50 is training and needs a RandomState, which is undefined", Error);
  noisy->eval();
  CHECK(test::same_bits(lags(*noisy, {}), plain));

  c.fsat.gamma = 50;
  c.fsat.gamma_steps = 10;
  const auto fading = c.attention(kFloat32);
  CHECK(!test::same_bits(lags(*fading, random_state(2, 5)), plain));
  CHECK(test::same_bits(lags(*fading, random_state(2, 10)), plain));
}

TEST_CASE("FsatAttention drops probabilities while training, and only then") {
  for (Case c : cases()) {
    if (c.positions * c.batch() == 0) continue;
    CAPTURE(c.positions);
    CAPTURE(c.fsat.lags);
    const auto plain = c.attention(kFloat32);
    c.fsat.attention_dropout = 0.5;
    const auto module = c.attention(kFloat32);
    const Variable x(c.input(kFloat32));
    const auto run = [&](const FsatAttention& attention, const RandomState& rng) {
      return real_part(attention.forward({x, x, c.mask(), rng}).value(), c.mask());
    };
    const auto at_step = [&](Index step) { return run(*module, random_state(c.batch(), step)); };
    CHECK(test::same_bits(at_step(1), at_step(1)));
    CHECK(!test::same_bits(at_step(1), at_step(2)));
    CHECK_THROWS_WITH_AS(
        run(*module, {}),
        "fsat: '' with attention_dropout = 0.5 is training and needs a RandomState, which is undefined", Error);
    const Tensor matrix = plain->mixing_matrix({x, x, c.mask(), {}});
    CHECK(test::same_bits(module->mixing_matrix({x, x, c.mask(), random_state(c.batch())}), matrix));
    module->eval();
    CHECK(test::same_bits(run(*module, {}), run(*plain, {})));
  }
}

TEST_CASE("FsatAttention with dropout gives on average what it gives without") {
  for (const bool holes : {false, true}) {
    Case c{.holes = holes};
    const Variable x(c.input(kFloat64));
    const auto run = [&](const FsatAttention& attention, Index step) {
      return real_part(attention.forward({x, x, c.mask(), random_state(c.batch(), step)}).value(), c.mask());
    };
    const Tensor want = run(*c.attention(kFloat64), 0);
    c.fsat.attention_dropout = 0.3;
    const auto module = c.attention(kFloat64);
    const Index steps = test::interpreted() ? 40 : 1000, count = want.size();
    std::vector<double> sum(static_cast<std::size_t>(count)), squares(sum);
    for (Index step = 0; step < steps; ++step) {
      const Tensor out = run(*module, step);
      for (Index i = 0; i < count; ++i) {
        const double off = test::at(out, i) - test::at(want, i);
        sum[static_cast<std::size_t>(i)] += off;
        squares[static_cast<std::size_t>(i)] += off * off;
      }
    }
    double spread = 0;
    for (std::size_t i = 0; i < sum.size(); ++i) {
      CHECK(std::abs(sum[i]) <= 5 * std::sqrt(squares[i]));  // a sum of `steps` draws, five of its deviations
      spread += squares[i];
    }
    CHECK(spread / static_cast<double>(steps * count) > 1e-3);
  }
}

TEST_CASE("FsatAttention with dropout gives the same bits for any number of threads") {
  const Index n = test::interpreted() ? 300 : 1100;
  Case c{.lengths = {n, n / 2}, .positions = n};
  c.fsat = {.cross = 3, .hidden = 4, .lags = 20, .columns = 10, .window = 1, .attention_dropout = 0.2};
  const auto module = c.attention(kFloat32);
  CHECK(test::same_for_any_thread_count([&] {
    const Variable x(c.input(kFloat32), true);
    const Variable out = module->forward({x, x, c.mask(), random_state(2)});
    backward(sum(out));
    return std::vector<Tensor>{out.value(), x.grad()};
  }));
}

TEST_CASE("FsatAttention starts with linear score heads on nearly tied cross maps") {
  const FsatAttention module(test::place(kFloat64), {.width = 64, .heads = 2, .fsat = {.cross = 16}});
  const StateDict state = module.state_dict();
  CHECK_CLOSE(state.at("lag_head.u"), full({2, 16}, 0.25, kFloat64, kCpu), 0);
  CHECK_CLOSE(state.at("col_head.w2"), zeros({2, 16}, kFloat64, kCpu), 0);
  const auto deviation = [](const Tensor& t) {
    double squares = 0;
    const Tensor all = t.to(kCpu);
    for (const double x : all.span<double>()) squares += x * x;
    return std::sqrt(squares / static_cast<double>(t.size()));
  };
  CHECK(deviation(state.at("cross_a.weight")) == doctest::Approx(1.0 / 8).epsilon(0.1));
  const Variable difference = sub(Variable(state.at("cross_b.weight")), Variable(state.at("cross_a.weight")));
  CHECK(deviation(difference.value()) == doctest::Approx(0.1 / 8).epsilon(0.1));
  CHECK(module.parameter_count() == 4 * (64 * 64 + 64) + 2 * 64 * 32 + 32 + 2 * (2 * (16 + 16 * 16 + 16 + 16)));
}

TEST_CASE("FsatAttention says what is legal") {
  const auto make = [](const FsatConfig& fsat, bool causal = false) {
    make_attention(test::place(kFloat32), {.kind = "fsat", .width = 4, .heads = 2, .causal = causal, .fsat = fsat});
  };
  CHECK_NOTHROW(make({}));
  CHECK_THROWS_WITH_AS(make({}, true), "fsat: causal is true, expected false: the pooled cross sees the whole sequence",
                       Error);
  CHECK_THROWS_WITH_AS(make({.cross = 0}), "fsat: cross is 0, expected at least 1 channel per head", Error);
  CHECK_THROWS_WITH_AS(make({.hidden = 0}), "fsat: hidden is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(make({.lags = -1}), "fsat: lags is -1, expected 0 or more", Error);
  CHECK_THROWS_WITH_AS(make({.columns = -3}), "fsat: columns is -3, expected 0 or more", Error);
  CHECK_THROWS_WITH_AS(make({.lags = 0, .columns = 0, .window = -1}),
                       "fsat: lags + columns is 0, expected at least 1: a query must see something", Error);
  CHECK_THROWS_WITH_AS(make({.window = -2}), "fsat: window is -2, expected -1 (no lag is forced) or more", Error);
  CHECK_THROWS_WITH_AS(make({.lags = 0}), "fsat: window is 8, expected -1: without lags there is nothing to force",
                       Error);
  CHECK_THROWS_WITH_AS(make({.lags = 16}),
                       "fsat: window is 8, expected at most 7: it forces 2 window + 1 of the 16 lags", Error);
  CHECK_THROWS_AS(make({.lags = 5, .window = Index{1} << 62}), Error);
  CHECK_THROWS_WITH_AS(make({.gamma = -1}), "fsat: gamma is -1, expected a finite number from 0 on", Error);
  for (const double dropout : {1.0, -0.1, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_WITH_AS(make({.attention_dropout = dropout}),
                         cat("fsat: attention_dropout is ", dropout, ", expected 0 <= p < 1").c_str(), Error);
  CHECK_THROWS_WITH_AS(make({.gamma_steps = -1}), "fsat: gamma_steps is -1, expected 0 (gamma stays) or more", Error);
  CHECK_THROWS_WITH_AS(make({.gamma_steps = 5}),
                       "fsat: gamma_steps is 5, expected 0: gamma is 0, and has nowhere to fall to", Error);
  CHECK_NOTHROW(make({.gamma = 1, .gamma_steps = 5}));
}

}  // namespace
}  // namespace subquad::nn
