#include "subquad/nn/attention/paramixer.h"

#include <cmath>
#include <numbers>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/core/graph.h"
#include "subquad/tests/nn/attention/padding.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::real_part;
using test::with_padding;

struct Case {
  ParamixerConfig options;
  std::vector<std::int64_t> lengths = {9, 4, 1};
  Index positions = 9, width = 4;
  enum { none, prefix, holes } padding = prefix;

  Index batch() const { return static_cast<Index>(lengths.size()); }
  Shape shape() const { return {batch(), positions, width}; }
  Mask mask() const {
    if (padding == none) return {};
    if (padding == prefix) return prefix_mask(lengths, positions);
    Tensor real = zeros({batch(), positions}, kBool, kCpu);  // the same numbers of real positions, in other places
    for (Index b = 0; b < batch(); ++b)
      for (Index i = 0; i < lengths[static_cast<std::size_t>(b)]; ++i)
        real.data<bool>()[b * positions + (5 * i + 3 + b) % positions] = true;
    return Mask::from_bool(test::here(real));
  }
  std::unique_ptr<Paramixer> make(DType dtype, double dropout = 0) const {
    AttentionConfig config{.kind = "paramixer", .width = width, .max_length = positions, .dropout = dropout};
    config.paramixer = options;
    auto made = std::make_unique<Paramixer>(test::place(dtype), config);
    test::randomise(*made, 0.4);
    return made;
  }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << link_protocol_name(c.options.protocol) << ", residual " << mix_residual_name(c.options.residual)
             << ", factors " << c.options.factors << ", links " << c.options.links << ", " << c.shape() << ", padding "
             << c.padding;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const LinkProtocol protocol : {LinkProtocol::chord, LinkProtocol::cdil, LinkProtocol::butterfly})
    for (const MixResidual residual : {MixResidual::running, MixResidual::fixed, MixResidual::none})
      for (const auto padding : {Case::none, Case::prefix, Case::holes})
        all.push_back({.options = {.protocol = protocol, .hidden = 5, .residual = residual}, .padding = padding});
  all.push_back({.options = {.factors = 3, .links = 2, .hidden = 3}});
  all.push_back({.options = {.rule = FactorRule::floor, .hidden = 3}, .lengths = {7, 7}, .positions = 7});
  all.push_back({.options = {.protocol = LinkProtocol::cdil, .links = 3, .hidden = 3}});
  all.push_back({.options = {.hidden = 3, .mix_padding = true}});
  all.push_back({.options = {.hidden = 3}, .lengths = {1, 0}, .positions = 1});
  all.push_back({.options = {.hidden = 3}, .lengths = {}});
  all.push_back({.options = {.hidden = 3}, .lengths = {0, 0}, .positions = 4});
  return all;
}

// What each position of one sample becomes, in double, by the paper's lines.
using Rows = std::vector<std::vector<double>>;

Rows perceptron(const Rows& x, const test::slow::Weights& weights, Index m) {
  const Tensor a = weights("first.weight"), a_bias = weights("first.bias");
  const Tensor c = weights("second.weight"), c_bias = weights("second.bias");
  Rows out;
  for (const std::vector<double>& row : x) {
    std::vector<double> y;
    for (Index o = 0; o < c.dim(2); ++o) y.push_back(test::at(c_bias, {m, o}));
    for (Index h = 0; h < a.dim(2); ++h) {
      double z = test::at(a_bias, {m, h});
      for (std::size_t i = 0; i < row.size(); ++i) z += row[i] * test::at(a, {m, static_cast<Index>(i), h});
      const double gelu = z * (1 + std::erf(z / std::numbers::sqrt2)) / 2;
      for (std::size_t o = 0; o < y.size(); ++o) y[o] += gelu * test::at(c, {m, h, static_cast<Index>(o)});
    }
    out.push_back(y);
  }
  return out;
}

// The columns that row i of factor m addresses; -1 drops out.
std::vector<Index> columns(const ParamixerConfig& options, Index m, Index links, Index i, Index n) {
  const auto wrap = [n](Index j) { return (j % n + n) % n; };
  const Index step = Index{1} << m, side = links / 2;
  std::vector<Index> all = {i};
  for (Index k = 1; k < links; ++k) {
    if (options.protocol == LinkProtocol::chord) all.push_back(wrap(i + (Index{1} << (k - 1))));
    if (options.protocol == LinkProtocol::cdil) all.push_back(wrap(k <= side ? i + k * step : i - (k - side) * step));
    if (options.protocol == LinkProtocol::butterfly) all.push_back((i ^ step) < n ? i ^ step : -1);
  }
  return all;
}

Rows slow_mix(const ParamixerConfig& options, const Rows& data, const Rows& v0, const test::slow::Weights& f) {
  const Index factors = f("first.weight").dim(0), n = static_cast<Index>(v0.size());
  Rows v = v0;
  for (Index m = 0; m < factors; ++m) {
    const Rows w = perceptron(data, f, m);
    Rows next = options.residual == MixResidual::running ? v : v0;
    if (options.residual == MixResidual::none)
      for (auto& row : next) row.assign(row.size(), 0);
    for (std::size_t i = 0; i < v.size(); ++i) {
      const auto to = columns(options, m, static_cast<Index>(w[i].size()), static_cast<Index>(i), n);
      for (std::size_t k = 0; k < to.size(); ++k)
        for (std::size_t c = 0; to[k] >= 0 && c < v[i].size(); ++c)
          next[i][c] += w[i][k] * v[static_cast<std::size_t>(to[k])][c];
    }
    v = next;
  }
  return v;
}

Tensor slow_paramixer(const Case& c, const Tensor& values, const Tensor& data, const Paramixer& module) {
  const test::slow::Weights weights(module.state_dict());
  const Mask mask = c.options.mix_padding ? Mask() : c.mask();
  Tensor out = zeros(c.shape(), kFloat64, kCpu);
  for (Index b = 0; b < c.batch(); ++b) {
    std::vector<Index> real;
    for (Index i = 0; i < c.positions; ++i)
      if (!mask.defined() || test::slow::is_real(mask, b, i)) real.push_back(i);
    const auto rows = [&](const Tensor& t) {
      Rows all;
      for (const Index i : real) {
        all.emplace_back();
        for (Index d = 0; d < c.width; ++d) all.back().push_back(test::at(t, {b, i, d}));
      }
      return all;
    };
    const Rows v = slow_mix(c.options, rows(data), perceptron(rows(values), weights / "g", 0), weights / "f");
    for (std::size_t i = 0; i < real.size(); ++i)
      for (Index d = 0; d < c.width; ++d)
        out.data<double>()[(b * c.positions + real[i]) * c.width + d] = v[i][static_cast<std::size_t>(d)];
  }
  return out;
}

}  // namespace

TEST_CASE("Paramixer equals the double loop") {
  test::for_each_float([](DType dtype) {
    for (const Case& c : cases()) {
      CAPTURE(c);
      const auto module = c.make(dtype);
      const Tensor values = test::normal(c.shape(), dtype, 1), data = test::normal(c.shape(), dtype, 2);
      const Tensor got = module->forward({Variable(values), Variable(data), c.mask(), {}}).value();
      CHECK_CLOSE(got, slow_paramixer(c, values, data, *module), test::dot_tolerance(dtype, 200));
    }
  });
}

TEST_CASE("Paramixer gradients, parameters included") {
  Index number = 0;
  for (const Case& c : cases()) {
    const bool left_out = test::interpreted() && number++ % 5 != 1;  // still every protocol, residual and padding
    if (c.batch() * c.positions == 0 || left_out) continue;
    CAPTURE(c);
    const auto module = c.make(kFloat64);
    const Mask mask = c.mask();
    CHECK_MODULE_GRADIENTS(*module,
                           [&](const auto& in) {
                             return module->forward({in[0], in[1], mask, {}});
                           },
                           {test::leaf(c.shape(), 1), test::leaf(c.shape(), 2)});
  }
}

TEST_CASE("Paramixer's mixing_matrix times g(values) is its output") {
  for (const Case& c : cases()) {
    CAPTURE(c);
    const auto module = c.make(kFloat64);
    module->eval();
    const Variable values(test::normal(c.shape(), kFloat64, 1)), data(test::normal(c.shape(), kFloat64, 2));
    const Tensor matrix = module->mixing_matrix({values, data, c.mask(), {}});
    CHECK(matrix.shape() == Shape{c.batch(), 1, c.positions, c.positions});
    const Tensor out = test::doubles(module->forward({values, data, c.mask(), {}}).value());
    const test::slow::Weights g = test::slow::Weights(module->state_dict()) / "g";
    Tensor product = zeros(c.shape(), kFloat64, kCpu);
    for (Index b = 0; b < c.batch(); ++b) {
      Rows x(static_cast<std::size_t>(c.positions));
      for (Index i = 0; i < c.positions; ++i)
        for (Index d = 0; d < c.width; ++d)
          x[static_cast<std::size_t>(i)].push_back(test::at(values.value(), {b, i, d}));
      const Rows v = perceptron(x, g, 0);
      for (Index i = 0; i < c.positions; ++i)
        for (Index j = 0; j < c.positions; ++j)  // columns of padded positions are 0
          for (Index d = 0; d < c.width; ++d)
            product.data<double>()[(b * c.positions + i) * c.width + d] +=
                test::at(matrix, {b, 0, i, j}) * v[static_cast<std::size_t>(j)][static_cast<std::size_t>(d)];
    }
    CHECK_CLOSE(product, out, test::dot_tolerance(kFloat64, 100));
  }
}

TEST_CASE("Paramixer does not see padded positions") {
  for (const Case& c : cases()) {
    if (c.padding == Case::none || c.options.mix_padding || c.batch() * c.positions == 0) continue;
    CAPTURE(c);
    const auto module = c.make(kFloat32);
    const Mask mask = c.mask();
    const Tensor x = test::normal(c.shape(), kFloat32, 1), y = test::normal(c.shape(), kFloat32, 2);
    const Variable upstream(test::normal(c.shape(), kFloat32, 3));
    const auto run = [&](double padding) {
      const Variable values(with_padding(x, mask, padding), true), data(with_padding(y, mask, padding), true);
      module->zero_grad();
      const Variable out = module->forward({values, data, mask, {}});
      backward(sum(mul(out, upstream)));
      std::vector<Tensor> results = {out.value(), values.grad(), data.grad()};
      for (const Variable& p : module->parameters()) results.push_back(p.grad().clone());
      return results;
    };
    const std::vector<Tensor> want = run(0);
    for (std::size_t i = 0; i < 3; ++i) CHECK(test::same_bits(want[i], real_part(want[i], mask)));
    for (const double padding : {1.0, -1e6, 3e38}) {
      const std::vector<Tensor> got = run(padding);
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(test::same_bits(got[i], want[i]));
    }
  }
}

TEST_CASE("Paramixer: a sample's result depends neither on the amount of padding nor on the rest of the batch") {
  Rng draws(5);
  for (int round = 0; round < 20; ++round) {
    Case c{.options = {.protocol = static_cast<LinkProtocol>(draws.below(3)),
                       .factors = 1 + draws.below(6),
                       .hidden = 6,
                       .residual = static_cast<MixResidual>(draws.below(3))}};
    c.positions = 1 + draws.below(90);
    c.lengths = {c.positions, draws.below(c.positions + 1), draws.below(c.positions + 1)};
    CAPTURE(c);
    const auto module = c.make(kFloat32);
    const Tensor values = test::normal(c.shape(), kFloat32, 1), data = test::normal(c.shape(), kFloat32, 2);
    const Tensor all = module->forward({Variable(values), Variable(data), c.mask(), {}}).value();
    for (Index b = 0; b < 3; ++b) {
      const auto cut = [&](const Tensor& t) {
        return t.slice(0, b, b + 1).slice(1, 0, c.lengths[static_cast<std::size_t>(b)]).contiguous();
      };
      const Tensor alone = module->forward({Variable(cut(values)), Variable(cut(data)), {}, {}}).value();
      CHECK(test::same_bits(alone, cut(all)));
    }
  }
}

TEST_SUITE("cuda") {  // no graphs elsewhere
  TEST_CASE("Paramixer recorded once and replayed is the eager one, bit for bit") {
    for (const auto padding : {Case::none, Case::prefix, Case::holes}) {
      const Case c{.options = {.hidden = 6}, .padding = padding};
      CAPTURE(c);
      const auto module = c.make(kFloat32);
      const Mask mask = c.mask();
      const Tensor x = test::normal(c.shape(), kFloat32, 1), y = test::normal(c.shape(), kFloat32, 2);
      const Variable upstream(test::normal(c.shape(), kFloat32, 3));
      std::vector<Tensor> results;
      const auto step = [&] {
        const Variable values(x, true), data(y, true);
        module->zero_grad();
        const Variable out = module->forward({values, data, mask, {}});
        backward(sum(mul(out, upstream)));
        results = {out.value(), values.grad(), data.grad()};
        for (const Variable& p : module->parameters()) results.push_back(p.grad());
      };
      step();
      std::vector<Tensor> want;
      for (const Tensor& t : results) want.push_back(t.to(kCpu).clone());
      Graph graph = Graph::capture(test::device(), step);
      graph.replay();
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(test::same_bits(results[i], want[i]));
    }
  }
}

TEST_CASE("Paramixer drops results while training") {
  const Case c{.options = {.hidden = 8}, .lengths = {8, 8}, .positions = 8, .width = 32, .padding = Case::none};
  const auto module = c.make(kFloat32, 0.5);
  const Variable x(test::normal(c.shape(), kFloat32, 1));
  const Tensor out = module->forward({x, x, {}, random_state(2)}).value();
  Index dropped = 0;
  for (Index i = 0; i < out.size(); ++i) dropped += test::at(out, i) == 0;
  CHECK(dropped > 192);
  CHECK(dropped < 320);
}

TEST_CASE("Paramixer starts as the published code does, its link weights scaled on demand") {
  AttentionConfig config{.kind = "paramixer", .width = 128, .max_length = 1999};
  CHECK(Paramixer(test::place(kFloat32), config).parameter_count() == 58116);  // the official ListOps model's
  config.paramixer.link_scale = 0;
  const Paramixer quiet(test::place(kFloat32), config);
  const Variable x(test::normal({1, 6, 128}, kFloat32, 1));
  CHECK_CLOSE(quiet.link_weights({x, x, {}, {}}).value(), zeros({11, 1, 6, 12}, kFloat64, kCpu), 0);
}

TEST_CASE("Paramixer: the number of factors is log2 of the length") {
  CHECK(factor_count(1, FactorRule::ceil) == 1);
  CHECK(factor_count(2, FactorRule::ceil) == 1);
  for (const auto& [length, ceil, floor] :
       {std::array<Index, 3>{1024, 10, 10}, {1999, 11, 10}, {4097, 13, 12}, {16384, 14, 14}, {16385, 15, 14}}) {
    CHECK(factor_count(length, FactorRule::ceil) == ceil);
    CHECK(factor_count(length, FactorRule::floor) == floor);
  }
}

TEST_CASE("Paramixer names the option that does not fit") {
  const auto make = [](const std::function<void(AttentionConfig&)>& change) {
    AttentionConfig config{.kind = "paramixer", .width = 4, .max_length = 16};
    change(config);
    make_attention(test::place(kFloat32), config);
  };
  CHECK_NOTHROW(make([](AttentionConfig&) {}));
  const auto complains = [&](const std::function<void(AttentionConfig&)>& change, const char* message) {
    CHECK_THROWS_WITH_AS(make(change), message, Error);
  };
  complains([](AttentionConfig& c) { c.heads = 2; },
            "paramixer: heads is 2, expected 1: all features share one mixing matrix");
  complains([](AttentionConfig& c) { c.head_width = 2; }, "paramixer: head_width is 2, expected 0 or the width, 4");
  complains([](AttentionConfig& c) { c.causal = true; },
            "paramixer: causal is true, expected false: links run round the sequence and reach later positions");
  complains([](AttentionConfig& c) { c.bias = false; },
            "paramixer: bias is false, expected true: its perceptrons have biases in both layers");
  complains([](AttentionConfig& c) { c.paramixer.hidden = 0; }, "paramixer: hidden is 0, expected at least 1");
  complains([](AttentionConfig& c) { c.paramixer.factors = -1; },
            "paramixer: factors is -1, expected 1 to 40, or 0 for the rule");
  complains(
      [](AttentionConfig& c) {
        c.paramixer.factors = 3;
        c.paramixer.rule = FactorRule::floor;
      },
      "paramixer: rule is floor and factors is 3, expected ceil, which is the default, or factors 0: a given number is "
      "not rounded");
  complains([](AttentionConfig& c) { c.max_length = 0; },
            "paramixer: max_length is 0, expected at least 1: the number of factors is its log2 (or give factors)");
  complains([](AttentionConfig& c) { c.paramixer.links = 64; },
            "paramixer: links is 64, expected 1 to 63 for chord, or 0 for factors + 1");
  const auto of = [](LinkProtocol protocol, Index links) {
    return [=](AttentionConfig& c) {
      c.paramixer.protocol = protocol;
      c.paramixer.links = links;
    };
  };
  complains(of(LinkProtocol::cdil, 4),
            "paramixer: links is 4, expected an odd number from 3 to 1023 for cdil, or 0 for 9");
  complains(of(LinkProtocol::butterfly, 3), "paramixer: links is 3, expected 2 for butterfly, or 0, which means 2");
  complains([](AttentionConfig& c) { c.paramixer.link_scale = std::nan(""); },
            "paramixer: link_scale is nan, expected a finite number");
}

}  // namespace subquad::nn
