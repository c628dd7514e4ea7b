#include "subquad/nn/attention/fsat.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/matmul.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;

struct Case {
  std::vector<std::int64_t> lengths = {11, 6, 2};
  Index positions = 11, width = 6, heads = 2, head_width = 0;
  FsatConfig fsat = {.cross = 3, .hidden = 4, .lags = 4, .columns = 3, .window = 1};
  bool bias = true, holes = false;  // holes: padding between real tokens

  Index batch() const { return static_cast<Index>(lengths.size()); }
  Mask mask() const {
    if (!holes) return prefix_mask(lengths, positions);
    Tensor real = empty({batch(), positions}, kBool, kCpu);
    for (Index b = 0; b < batch(); ++b)
      for (Index i = 0; i < positions; ++i) real.view<bool, 2>()(b, i) = (i * 5 + b * 3) % 4 != 0 && b != 2;
    return Mask::from_bool(test::here(real));
  }
  AttentionConfig config() const {
    return {.kind = "fsat", .width = width, .heads = heads, .head_width = head_width, .bias = bias, .fsat = fsat};
  }
  std::unique_ptr<FsatAttention> attention(DType dtype) const {
    auto made = std::make_unique<FsatAttention>(test::place(dtype, 4), config());
    test::randomise(*made);
    return made;
  }
  Tensor input(DType dtype, std::uint64_t seed = 1) const {
    return test::normal({batch(), positions, width}, dtype, seed);
  }
};

std::vector<Case> cases() {
  return {
      {},
      {.holes = true},
      {.fsat = {.cross = 2, .hidden = 3, .lags = 3, .columns = 2, .window = -1, .mode = FsatMode::bias}, .bias = false},
      {.fsat =
           {.cross = 2, .hidden = 3, .lags = 5, .columns = 4, .window = 2, .mode = FsatMode::bias, .truncate = false},
       .holes = true},
      {.head_width = 5, .fsat = {.cross = 1, .hidden = 1, .lags = 0, .columns = 3, .window = -1}},
      {.fsat = {.cross = 4, .hidden = 2, .lags = 3, .columns = 0, .window = 0}},
      {.lengths = {1}, .positions = 1, .width = 4, .heads = 4},
      {.lengths = {}, .positions = 5, .width = 4},
      {.lengths = {0, 0}, .positions = 0, .width = 4},
      {.lengths = {40, 33, 0},
       .positions = 40,
       .fsat = {.cross = 5, .hidden = 3, .lags = 9, .columns = 6, .window = 3}},
  };
}

// What stands at real positions, 0 elsewhere; and x with other contents at padded ones.
Tensor with_padding(const Tensor& x, const Mask& mask, double value) {
  Tensor out = x.to(kCpu).clone();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index i = 0; i < x.dim(1); ++i) {
      Tensor row = out.select(0, b).select(0, i);
      if (!test::slow::is_real(mask, b, i)) fill(row, value);
    }
  return test::here(out);
}
Tensor real_part(const Tensor& x, const Mask& mask) {
  return with_padding(x, mask, 0);
}

// The equations of papers/fsat.md, section 3, one sample and one head at a time, in double. Positions are those of real
// tokens alone.
namespace slow_fsat {

using Rows = std::vector<std::vector<double>>;

// Columns [from, from + width) of the real rows of sample b; x [B, N, C].
Rows real_rows(const Tensor& x, const Mask& mask, Index b, Index from, Index width) {
  Rows rows;
  for (Index i = 0; i < x.dim(1); ++i)
    if (test::slow::is_real(mask, b, i)) {
      std::vector<double>& row = rows.emplace_back();
      for (Index c = from; c < from + width; ++c) row.push_back(x.view<const double, 3>()(b, i, c));
    }
  return rows;
}

struct Cross {
  Rows lag, col;
};
Cross cross(const Rows& a, const Rows& b, std::size_t channels) {
  const std::size_t n = a.size();
  Cross out{Rows(n, std::vector<double>(channels)), Rows(n, std::vector<double>(channels))};
  for (std::size_t r = 0; r < channels; ++r) {
    double a_mean = 0, b_mean = 0;
    for (std::size_t i = 0; i < n; ++i) a_mean += a[i][r] / double(n), b_mean += b[i][r] / double(n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        out.lag[(j + n - i) % n][r] += (a[i][r] - a_mean) * (b[j][r] - b_mean) / double(n);
        out.col[j][r] += a[i][r] * (b[j][r] - b_mean) / double(n);
      }
  }
  return out;
}

std::vector<double> scores(const Rows& features, const test::slow::Weights& w, Index head) {
  const Tensor u = w("u"), w1 = w("w1"), b1 = w("b1"), w2 = w("w2");
  std::vector<double> out;
  for (const std::vector<double>& f : features) {
    double score = 0;
    for (Index r = 0; r < u.dim(1); ++r) score += u.view<const double, 2>()(head, r) * f[std::size_t(r)];
    for (Index m = 0; m < b1.dim(1); ++m) {
      double z = b1.view<const double, 2>()(head, m);
      for (Index r = 0; r < u.dim(1); ++r) z += w1.view<const double, 3>()(head, r, m) * f[std::size_t(r)];
      score += w2.view<const double, 2>()(head, m) * z / 2 * (1 + std::erf(z / std::sqrt(2.0)));
    }
    out.push_back(score);
  }
  return out;
}

// chosen[x]: is x one of the best `count`? Those within the window are so before all others.
std::vector<bool> choose(const std::vector<double>& score, Index count, Index window) {
  const Index n = Index(score.size());
  std::vector<Index> order(score.size());
  std::iota(order.begin(), order.end(), Index(0));
  const auto forced = [&](Index x) { return x <= window || n - x <= window; };
  std::stable_sort(order.begin(), order.end(), [&](Index x, Index y) {
    if (forced(x) != forced(y)) return forced(x);
    return !forced(x) && score[std::size_t(x)] > score[std::size_t(y)];
  });
  std::vector<bool> chosen(score.size());
  for (Index s = 0; s < std::min(count, n); ++s) chosen[std::size_t(order[std::size_t(s)])] = true;
  return chosen;
}

// A [B, H, N, N], rows and columns of padded positions 0.
Tensor matrix(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask) {
  const Index head_width = c.head_width > 0 ? c.head_width : c.width / c.heads, channels = c.fsat.cross;
  const Tensor q = test::slow::linear(x, w / "query"), k = test::slow::linear(x, w / "key");
  const Tensor a = test::slow::linear(x, w / "cross_a"), b = test::slow::linear(x, w / "cross_b");
  Tensor all = zeros({x.dim(0), c.heads, x.dim(1), x.dim(1)}, kFloat64, kCpu);
  for (Index s = 0; s < x.dim(0); ++s)
    for (Index h = 0; h < c.heads; ++h) {
      std::vector<Index> place;  // of each real token
      for (Index i = 0; i < x.dim(1); ++i)
        if (test::slow::is_real(mask, s, i)) place.push_back(i);
      const std::size_t n = place.size();
      const Cross pooled = cross(real_rows(a, mask, s, h * channels, channels),
                                 real_rows(b, mask, s, h * channels, channels), std::size_t(channels));
      const std::vector<double> lag = scores(pooled.lag, w / "lag_head", h),
                                col = scores(pooled.col, w / "col_head", h);
      const std::vector<bool> lags = choose(lag, c.fsat.lags, c.fsat.window), columns = choose(col, c.fsat.columns, -1);
      const Rows queries = real_rows(q, mask, s, h * head_width, head_width);
      const Rows keys = real_rows(k, mask, s, h * head_width, head_width);
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        std::vector<double> p(n);
        for (std::size_t j = 0; j < n; ++j) {
          const std::size_t t = (j + n - i) % n;
          if (!lags[t] && !columns[j]) continue;
          double logit = std::inner_product(queries[i].begin(), queries[i].end(), keys[j].begin(), 0.0) /
                         std::sqrt(double(head_width));
          if (c.fsat.mode == FsatMode::bias) logit += lags[t] ? lag[t] : col[j];
          sum += p[j] = std::exp(logit);
        }
        for (std::size_t j = 0; j < n; ++j) all.view<double, 4>()(s, h, place[i], place[j]) = p[j] / sum;
      }
    }
  return all;
}

Tensor module(const Tensor& x, const test::slow::Weights& w, const Case& c, const Mask& mask) {
  const Tensor A = matrix(x, w, c, mask), v = test::slow::linear(x, w / "value");
  const Index head_width = v.dim(2) / c.heads;
  Tensor mixed = zeros(v.shape(), kFloat64, kCpu);
  for (Index s = 0; s < x.dim(0); ++s)
    for (Index f = 0; f < v.dim(2); ++f)
      for (Index i = 0; i < x.dim(1); ++i)
        for (Index j = 0; j < x.dim(1); ++j)
          mixed.view<double, 3>()(s, i, f) +=
              A.view<const double, 4>()(s, f / head_width, i, j) * v.view<const double, 3>()(s, j, f);
  return test::slow::linear(mixed, w / "out");
}

}  // namespace slow_fsat

TEST_SUITE("cpu") {
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
        CHECK_CLOSE(real_part(got, c.mask()), real_part(slow_fsat::module(x, weights, c, c.mask()), c.mask()),
                    tolerance);
        CHECK_CLOSE(module->mixing_matrix({in, in, c.mask(), {}}), slow_fsat::matrix(x, weights, c, c.mask()),
                    tolerance);
      });
    }
  }

  TEST_CASE("FsatAttention with all lags or all columns is SoftmaxAttention, gradients included") {
    const std::vector<FsatConfig> covering = {{.cross = 3, .hidden = 2, .lags = 11, .columns = 3, .window = 1},
                                              {.cross = 3, .hidden = 2, .lags = 90, .columns = 0, .window = 3},
                                              {.cross = 3, .hidden = 2, .lags = 0, .columns = 11, .window = -1},
                                              {.cross = 3, .hidden = 2, .lags = 4, .columns = 12, .window = 0}};
    for (const FsatConfig& options : covering)
      for (const bool holes : {false, true})
        test::for_each_float([&](DType dtype) {
          const Case c{.fsat = options, .holes = holes};
          const auto module = c.attention(dtype);
          const auto softmax = make_attention(test::place(dtype), {.width = c.width, .heads = c.heads});
          StateDict shared;
          for (const auto& [name, value] : module->state_dict())
            if (softmax->state_dict().contains(name)) shared.insert_or_assign(name, value);
          softmax->load_state_dict(shared);
          const Mask mask = c.mask();
          const Variable upstream(real_part(c.input(dtype, 2), mask));
          const auto run = [&](Attention& attention) {
            const Variable in(c.input(dtype), true);
            const Variable out = attention.forward({in, in, mask, {}});
            backward(sum(mul(out, upstream)));
            std::vector<Tensor> results = {real_part(out.value(), mask), in.grad()};
            for (const Variable& p : attention.parameters())
              if (shared.contains(p.name())) results.push_back(p.grad());
            return results;
          };
          const std::vector<Tensor> got = run(*module), want = run(*softmax);
          REQUIRE(got.size() == want.size());
          for (std::size_t i = 0; i < want.size(); ++i)
            CHECK_CLOSE(got[i], want[i], test::dot_tolerance(dtype, 16 * c.positions));
        });
  }

  TEST_CASE("FsatAttention gradients where they are true ones: mode bias, nothing truncated") {
    for (Case c : cases()) {
      if (c.positions * c.batch() == 0 || c.positions > 20) continue;
      CAPTURE(c.fsat.lags);
      c.fsat.mode = FsatMode::bias;
      c.fsat.truncate = false;
      const auto module = c.attention(kFloat64);
      const Mask mask = c.mask();
      const Variable real(mask.real.unsqueeze(2).to(kFloat64));  // padded results are unspecified
      const auto f = [&](const auto& in) { return mul(module->forward({in[0], in[1], mask, {}}), real); };
      CHECK_MODULE_GRADIENTS(*module, f, {Variable(c.input(kFloat64, 1), true), Variable(c.input(kFloat64, 2), true)});
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

  TEST_CASE("FsatAttention does not see padded positions") {
    for (const Case& c : cases()) {
      if (c.positions * c.batch() == 0) continue;
      const auto module = c.attention(kFloat32);
      const Mask mask = c.mask();
      const Tensor x = c.input(kFloat32);
      const Variable upstream(real_part(c.input(kFloat32, 2), mask));
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

  TEST_CASE("FsatAttention depends neither on the amount of padding nor on the rest of the batch") {
    Rng rng(12);
    for (int draw = 0; draw < 20; ++draw) {
      const Index n = 1 + rng.below(30), more = rng.below(20);
      Case c{.lengths = {n, 1 + rng.below(n)}, .positions = n};
      c.fsat.lags = 3 + rng.below(8);
      c.fsat.columns = rng.below(6);
      c.fsat.mode = draw % 2 == 0 ? FsatMode::bias : FsatMode::straight_through;
      const auto module = c.attention(kFloat64);
      const Tensor x = c.input(kFloat64);
      const auto run = [&](const Tensor& input, const Mask& mask) {
        const Variable in(input);
        return module->forward({in, in, mask, {}}).value();
      };
      const Tensor both = run(x, c.mask());
      Tensor longer = test::normal({2, n + more, c.width}, kFloat64, 3);
      Tensor front = longer.slice(1, 0, n);
      copy(x, front);
      const Tensor padded = run(longer, prefix_mask(c.lengths, n + more));
      for (Index b = 0; b < 2; ++b) {
        const Index length = c.lengths[static_cast<std::size_t>(b)];
        const auto cut = [&](const Tensor& t) { return t.slice(0, b, b + 1).slice(1, 0, length); };
        const double tolerance = test::dot_tolerance(kFloat64, 64);
        CHECK_CLOSE(cut(padded), cut(both), tolerance);
        CHECK_CLOSE(run(cut(x).contiguous(), {}), cut(both), tolerance);
      }
    }
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
    const auto row = [&](const Tensor& list, Index b) { return list.select(0, b).select(0, 1); };
    CHECK(test::same_bits(row(chosen.lags, 0), tensor<Index>({0, 1, 2, -1, -1, -1, -1}, {7})));
    CHECK(test::same_bits(row(chosen.lags, 1), tensor<Index>({0, -1, -1, -1, -1, -1, -1}, {7})));
    CHECK(test::same_bits(row(chosen.columns, 0), tensor<Index>({0, 1, 2, -1}, {4})));
    CHECK(test::same_bits(row(chosen.columns, 2), tensor<Index>({-1, -1, -1, -1}, {4})));
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

  TEST_CASE("FsatAttention starts with linear score heads on nearly tied cross maps") {
    const FsatAttention module(test::place(kFloat64), {.width = 64, .heads = 2, .fsat = {.cross = 16}});
    const StateDict state = module.state_dict();
    CHECK_CLOSE(state.at("lag_head.u"), full({2, 16}, 0.25, kFloat64, kCpu), 0);
    CHECK_CLOSE(state.at("col_head.w2"), zeros({2, 16}, kFloat64, kCpu), 0);
    const auto deviation = [](const Tensor& t) {
      double squares = 0;
      for (const double x : t.span<double>()) squares += x * x;
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
    CHECK_THROWS_WITH_AS(make({}, true),
                         "fsat: causal is true, expected false: the pooled cross sees the whole sequence", Error);
    CHECK_THROWS_WITH_AS(make({.cross = 0}), "fsat: cross is 0, expected at least 1 channel per head", Error);
    CHECK_THROWS_WITH_AS(make({.hidden = 0}), "fsat: hidden is 0, expected at least 1", Error);
    CHECK_THROWS_WITH_AS(make({.lags = -1}), "fsat: lags is -1, expected 0 or more", Error);
    CHECK_THROWS_WITH_AS(make({.columns = -3}), "fsat: columns is -3, expected 0 or more", Error);
    CHECK_THROWS_WITH_AS(make({.lags = 0, .columns = 0, .window = -1}),
                         "fsat: lags + columns is 0, expected at least 1: a query must see something", Error);
    CHECK_THROWS_WITH_AS(make({.window = -2}), "fsat: window is -2, expected -1 (no lag is forced) or more", Error);
    CHECK_THROWS_WITH_AS(make({.lags = 0}), "fsat: window is 8, expected -1: without lags there is nothing to force",
                         Error);
    CHECK_THROWS_WITH_AS(make({.lags = 16}), "fsat: lags is 16, expected 0, or at least 17: window 8 forces so many",
                         Error);
    CHECK_THROWS_WITH_AS(make({.gamma = -1}), "fsat: gamma is -1, expected a finite number from 0 on", Error);
    CHECK_THROWS_WITH_AS(make({.gamma_steps = -1}), "fsat: gamma_steps is -1, expected 0 (gamma stays) or more", Error);
  }
}

}  // namespace
}  // namespace subquad::nn
