#include "subquad/nn/mixer.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::random_tokens;
namespace slow = test::slow;

constexpr Index kVocabulary = 7, kLength = 8, kWidth = 6;

const std::vector<std::string> kKinds = {"softmax", "paramixer"};

MixerConfig config(Pooling pooling, bool masked = true, double dropout = 0) {
  return {.outputs = 3,
          .max_length = kLength,
          .width = kWidth,
          .blocks = 2,
          .attention = {.kind = "softmax", .heads = 2},
          .dropout = dropout,
          .block_dropout = dropout,
          .pooling = pooling,
          .masked = masked};
}

TokenMixerConfig token_config(Pooling pooling, bool masked = true, double dropout = 0) {
  return {.vocabulary = kVocabulary, .mixer = config(pooling, masked, dropout)};
}

Variable run_blocks(const Mixer& mixer, const Variable& x, const Mask& mask) {
  Variable values = x;
  for (std::size_t i = 0; i < 2; ++i) values = mixer.block(i).forward({values, x, mask, {}});
  return values;
}

TEST_CASE("Mixer: all blocks read the same data, only the values travel") {
  for (const bool masked : {true, false}) {
    const TokenMixer model(test::place(kFloat64), token_config(Pooling::mean, masked));
    test::randomise(model);
    const slow::Weights w(model.state_dict());
    const Tensor tokens = random_tokens(3, 6, kVocabulary, 1);
    const Mask mask = prefix_mask({6, 2, 0}, 6);
    const Variable x = add(model.embed(tokens), Variable(test::here(w("mixer.positions.weight").slice(0, 0, 6))));
    CHECK_CLOSE(model.mixer().data(model.embed(tokens), {}).value(), x.value(), 0);
    const Mask used = masked ? mask : Mask();
    const Tensor pooled = pool_mean(run_blocks(model.mixer(), x, used), used).value();
    CHECK_CLOSE(model(tokens, mask, {}).value(), slow::linear(pooled, w / "mixer.head"),
                test::dot_tolerance(kFloat64, 100));
  }
}

TEST_CASE("Mixer: flatten and cls heads") {
  const TokenMixer flat(test::place(kFloat64), token_config(Pooling::flatten, false));
  const Tensor tokens = random_tokens(2, kLength, kVocabulary, 1);
  const Variable x = flat.mixer().data(flat.embed(tokens), {});
  const Tensor all = run_blocks(flat.mixer(), x, {}).value().contiguous().reshape({2, kLength * kWidth});
  CHECK_CLOSE(flat(tokens, {}, {}).value(), slow::linear(all, slow::Weights(flat.state_dict()) / "mixer.head"),
              test::dot_tolerance(kFloat64, 100));

  const TokenMixer cls(test::place(kFloat64), token_config(Pooling::cls));
  CHECK(cls.state_dict().at("mixer.positions.weight").shape() == Shape{kLength + 1, kWidth});
  const Mask mask = prefix_mask({kLength, 3}, kLength);
  const Variable data = cls.mixer().data(cls.embed(tokens), {});
  CHECK(data.shape() == Shape{2, kLength + 1, kWidth});
  const Tensor first = run_blocks(cls.mixer(), data, with_leading_position(mask)).value().select(1, 0).contiguous();
  CHECK_CLOSE(cls(tokens, mask, {}).value(), slow::linear(first, slow::Weights(cls.state_dict()) / "mixer.head"),
              test::dot_tolerance(kFloat64, 100));

  TokenMixerConfig own = token_config(Pooling::cls);
  own.own_cls = true;
  const TokenMixer with_own(test::place(kFloat64), own);
  CHECK_FALSE(with_own.state_dict().contains("cls"));
  CHECK(with_own.embed(tokens).shape() == Shape{2, kLength, kWidth});
}

TEST_CASE("Mixer gradients") {
  for (const std::string& kind : kKinds)
    for (const Pooling pooling : {Pooling::mean, Pooling::cls, Pooling::flatten}) {
      if (test::interpreted() && pooling != Pooling::cls) continue;  // time; pooling has tests of its own
      TokenMixerConfig c = token_config(pooling, pooling != Pooling::flatten, 0.25);
      c.mixer.attention = {.kind = kind, .heads = kind == "paramixer" ? 1 : 2};
      c.mixer.attention.paramixer.hidden = 4;
      const TokenMixer model(test::place(kFloat64), c);
      test::randomise(model);
      const Tensor tokens = random_tokens(2, kLength, kVocabulary, 1);
      const Mask mask = prefix_mask({kLength, 5}, kLength);
      CHECK_MODULE_GRADIENTS(model, [&](const auto&) { return model(tokens, mask, random_state(2)); });
    }
  const FeatureMixer model(test::place(kFloat64), 2, config(Pooling::flatten, false));
  test::randomise(model);
  CHECK_MODULE_GRADIENTS(model, [&](const auto& in) { return model(in[0], {}, {}); }, {test::leaf({2, kLength, 2}, 1)});
}

TEST_CASE("Mixer: a masked sample depends on its real tokens alone") {
  for (const std::string& kind : kKinds)
    for (const Pooling pooling : {Pooling::mean, Pooling::cls}) {
      TokenMixerConfig c = token_config(pooling);
      c.mixer.attention = {.kind = kind, .heads = kind == "paramixer" ? 1 : 2};
      const TokenMixer model(test::place(kFloat32), c);
      test::randomise(model);
      const Tensor tokens = random_tokens(2, 6, kVocabulary, 1);
      const Mask mask = prefix_mask({4, 6}, 6);
      const Tensor want = model(tokens, mask, {}).value();
      for (std::uint64_t seed = 2; seed < 5; ++seed) {
        Tensor other = tokens.to(kCpu).clone();
        Rng rng(seed);
        for (const Index i : {4, 5}) other.view<std::int64_t, 2>()(0, i) = rng.below(kVocabulary);
        CHECK(test::same_bits(model(test::here(other), mask, {}).value(), want));
      }
      const Tensor alone = tokens.slice(0, 0, 1).slice(1, 0, 4).contiguous();
      CHECK_CLOSE(model(alone, {}, {}).value(), want.slice(0, 0, 1), test::dot_tolerance(kFloat32, 60));
    }
}

TEST_CASE("Mixer: the value path is dropped twice, by masks of their own") {
  MixerConfig c = config(Pooling::mean, true, 0.5);
  c.blocks = 0;
  c.block_dropout = 0;
  c.positions = PositionKind::none;
  const Mixer mixer(test::place(kFloat64), c);
  const Variable ones(full({4, kLength, kWidth}, 1, kFloat64, test::device()));
  const Tensor x = mixer.data(ones, random_state(4)).value();
  const double kept = test::at(sum(Variable(x)).value(), 0) / 2 / static_cast<double>(x.size());
  CHECK(kept > 0.35);
  CHECK(kept < 0.65);
  // Without blocks the head reads the mean of the values: each is 4, where both masks keep it, or 0.
  StateDict state = mixer.state_dict();
  fill(state.at("head.weight"), 1);
  fill(state.at("head.bias"), 0);
  const Tensor out = mixer(ones, {}, random_state(4)).value();
  double total = 0;
  for (Index b = 0; b < 4; ++b) total += test::at(out, {b, 0}) * static_cast<double>(kLength) / 4;
  const double kept_twice = total / static_cast<double>(x.size());
  CHECK(kept_twice > 0.15);
  CHECK(kept_twice < 0.36);
}

TEST_CASE("TokenMixer: what becomes of the padding row") {
  for (const PaddingRow row : {PaddingRow::trained, PaddingRow::frozen, PaddingRow::zero}) {
    TokenMixerConfig c = token_config(Pooling::mean, false);
    c.padding_row = row;
    c.padding_token = 2;
    c.embedding_bound = 0.1;
    const TokenMixer model(test::place(kFloat64), c);
    const Tensor tokens = test::here(tensor<std::int64_t>({1, 2, 3, 2}, {1, 4}));
    backward(sum(model(tokens, {}, {})));
    double largest = 0, start = 0, gradient = 0;
    for (const Variable& p : model.parameters()) {
      if (p.name() != "tokens.weight") continue;
      for (Index d = 0; d < kWidth; ++d) {
        for (Index v = 0; v < kVocabulary; ++v) largest = std::max(largest, std::abs(test::at(p.value(), {v, d})));
        start += std::abs(test::at(p.value(), {2, d}));
        gradient += std::abs(test::at(p.grad(), {2, d}));
      }
    }
    CHECK(largest <= 0.1);
    CHECK((start == 0) == (row == PaddingRow::zero));
    CHECK((gradient == 0) == (row != PaddingRow::trained));
    CHECK(parse_padding_row(padding_row_name(row)) == row);
  }
}

TEST_CASE("TokenMixer and FeatureMixer have the parameters of the published models") {
  struct Published {
    Index vocabulary, length, width, hidden, blocks, classes;
    Pooling pooling;
    PositionKind positions;
    Index chord, cdil;
  };
  // Counted on the official code's models; Text and Adding without the tables that no one reads there.
  const Published all[] = {
      {17, 1999, 128, 32, 1, 10, Pooling::flatten, PositionKind::learned, 2874894, 2873805},           // ListOps
      {256, 1024, 32, 32, 1, 10, Pooling::flatten, PositionKind::learned, 384952, 384292},             // Image
      {225, 1024, 64, 32, 1, 2, Pooling::flatten, PositionKind::learned, 239632, 238972},              // Pathfinder
      {97, 4097, 32, 128, 3, 2, Pooling::cls, PositionKind::none, 394500 - 131104, 369345 - 131104}};  // Text
  const auto mixer = [](const Published& p, LinkProtocol protocol) {
    MixerConfig c{.outputs = p.classes,
                  .max_length = p.length,
                  .width = p.width,
                  .blocks = p.blocks,
                  .positions = p.positions,
                  .pooling = p.pooling,
                  .masked = false};
    c.attention.paramixer.protocol = protocol;
    c.attention.paramixer.hidden = p.hidden;
    return c;
  };
  for (const Published& p : all)
    for (const LinkProtocol protocol : {LinkProtocol::chord, LinkProtocol::cdil}) {
      const TokenMixer model(test::place(kFloat32),
                             {.vocabulary = p.vocabulary, .mixer = mixer(p, protocol), .own_cls = true});
      CHECK(model.parameter_count() == (protocol == LinkProtocol::chord ? p.chord : p.cdil));
    }
  const Published adding = {0, 1024, 32, 32, 1, 1, Pooling::flatten, PositionKind::none, 81967 - 32768 - 32, 0};
  CHECK(FeatureMixer(test::place(kFloat32), 2, mixer(adding, LinkProtocol::chord)).parameter_count() == adding.chord);
  const Published order = {6, 1024, 32, 32, 1, 4, Pooling::flatten, PositionKind::learned, 180338, 0};
  CHECK(TokenMixer(test::place(kFloat32), {.vocabulary = 6, .mixer = mixer(order, LinkProtocol::chord)})
            .parameter_count() == order.chord);
}

TEST_CASE("Mixer names what does not fit") {
  CHECK_THROWS_WITH_AS(
      Mixer(test::place(kFloat32), config(Pooling::flatten)),
      "mixer: pooling is flatten while padding is masked, expected mean or cls, or padding that is mixed", Error);
  const TokenMixer flat(test::place(kFloat32), token_config(Pooling::flatten, false));
  CHECK_THROWS_WITH_AS(
      flat(random_tokens(2, 5, kVocabulary, 1), {}, {}),
      cat("mixer: embedded is [2, 5, 6] float32 ", test::device(), ", expected 8 positions (max_length)").c_str(),
      ShapeError);
  const TokenMixer mean(test::place(kFloat32), token_config(Pooling::mean));
  CHECK_THROWS_WITH_AS(
      mean(random_tokens(2, 9, kVocabulary, 1), {}, {}),
      cat("mixer: embedded is [2, 9, 6] float32 ", test::device(), ", expected at most 8 positions (max_length)")
          .c_str(),
      ShapeError);
  TokenMixerConfig outside = token_config(Pooling::mean);
  outside.padding_token = kVocabulary;
  CHECK_THROWS_WITH_AS(TokenMixer(test::place(kFloat32), outside),
                       "mixer: padding_token is 7, expected one of the 7 tokens", Error);
  CHECK_THROWS_WITH_AS(parse_padding_row("kept"), "padding row: 'kept', expected one of trained, frozen, zero", Error);
}

}  // namespace
}  // namespace subquad::nn
