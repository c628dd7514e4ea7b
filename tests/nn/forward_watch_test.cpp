#include "subquad/nn/forward_watch.h"

#include <thread>

#include "subquad/autograd/ops/shape.h"
#include "subquad/nn/classifier.h"
#include "subquad/nn/mixer.h"
#include "subquad/nn/two_tower.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

constexpr Index kVocabulary = 7, kWidth = 8;

SequenceClassifierConfig encoder_model(NormOrder norm, Pooling pooling = Pooling::mean) {
  return {.vocabulary = kVocabulary,
          .classes = 3,
          .max_length = 9,
          .width = kWidth,
          .layers = 2,
          .hidden = 6,
          .norm = norm,
          .dropout = 0,
          .attention_dropout = 0,
          .pooling = pooling};
}

TokenMixerConfig mixer_model(Pooling pooling) {
  return {.vocabulary = kVocabulary,
          .mixer = {.outputs = 3, .max_length = 9, .width = kWidth, .blocks = 2, .pooling = pooling}};
}

// d logit / d table, summed up from the gradients of the rows that the tokens had: 0 where no token is.
Tensor gathered(const Tensor& drows, const Tensor& tokens, Index leading) {
  Tensor table = zeros({kVocabulary, kWidth}, kFloat64, kCpu);
  auto cell = table.view<double, 2>();
  const Tensor d = test::doubles(drows), ids = test::doubles(tokens);
  for (Index b = 0; b < tokens.dim(0); ++b)
    for (Index i = 0; i < tokens.dim(1); ++i)
      for (Index j = 0; j < kWidth; ++j)
        cell(static_cast<Index>(test::at(ids, {b, i})), j) += test::at(d, {b, i + leading, j});
  return table;
}

void check_rows(const Classifier& model, const std::string& table, Index leading) {
  const Tensor tokens = test::random_tokens(2, 7, kVocabulary, 1);
  const Mask mask = test::prefix_mask({7, 4}, 7);
  Variable rows;
  const ForwardWatch watch({.rows = [&](const Variable& x) { rows = x; }});
  const Variable logit = slice(slice(model(tokens, mask, {}), 1, 1, 2), 0, 1, 2);
  REQUIRE(rows.defined());
  CHECK(rows.shape() == Shape{2, 7 + leading, kWidth});
  Variable weight;
  for (const Variable& p : model.parameters())
    if (p.name() == table) weight = p;
  REQUIRE(weight.defined());
  const std::vector<Tensor> d = grad({logit}, {rows, weight});
  CHECK_CLOSE(d[1], gathered(d[0], tokens, leading), test::dot_tolerance(kFloat64, 16));
  CHECK(test::largest_error(d[0], zeros(d[0].shape(), kFloat64, kCpu)) > 1e-6);
}

TEST_CASE("ForwardWatch: gradients of the rows it tells of make up that of the embedding") {
  for (const Pooling pooling : {Pooling::mean, Pooling::cls}) {
    const Index leading = pooling == Pooling::cls ? 1 : 0;
    for (const NormOrder norm : {NormOrder::pre, NormOrder::post})
      check_rows(SequenceClassifier(test::place(kFloat64), encoder_model(norm, pooling)), "encoder.tokens.weight",
                 leading);
    check_rows(TokenMixer(test::place(kFloat64), mixer_model(pooling)), "tokens.weight", leading);
  }
}

TEST_CASE("ForwardWatch is told of each attention in order, with what it gets, and changes nothing") {
  const SequenceClassifier model(test::place(kFloat32), encoder_model(NormOrder::pre));
  const Tensor tokens = test::random_tokens(2, 7, kVocabulary, 1);
  const Mask mask = test::prefix_mask({7, 4}, 7);
  const Tensor want = model(tokens, mask, {}).value();
  std::vector<std::string> paths;
  std::vector<AttentionInput> inputs;
  {
    const ForwardWatch watch({.attention = [&](const Attention& a, const AttentionInput& in) {
      paths.push_back(a.path());
      inputs.push_back(in);
      a.forward(in);  // not told of
    }});
    CHECK(test::same_bits(model(tokens, mask, {}).value(), want));
  }
  model(tokens, mask, {});
  CHECK(paths == std::vector<std::string>{"encoder.layers.0.attention", "encoder.layers.1.attention"});
  const Attention& second = model.encoder().layer(1).attention();
  CHECK(inputs[1].values.shape() == Shape{2, 7, kWidth});
  CHECK(test::same_bits(inputs[1].mask.real, mask.real));
  CHECK(second.forward(inputs[1]).shape() == Shape{2, 7, kWidth});
}

TEST_CASE("ForwardWatch: the newest of a thread alone is told") {
  const TwoTowerClassifier model(test::place(kFloat32), encoder_model(NormOrder::pre));
  const Tensor a = test::random_tokens(2, 7, kVocabulary, 1), b = test::random_tokens(2, 5, kVocabulary, 2);
  const auto run = [&] { model({a, {}}, {b, {}}, {}); };
  std::vector<Index> outer, inner;
  const ForwardWatch first({.rows = [&](const Variable& x) { outer.push_back(x.dim(1)); }});
  run();
  {
    const ForwardWatch second({.rows = [&](const Variable& x) { inner.push_back(x.dim(1)); }});
    run();
  }
  std::thread(run).join();
  CHECK(outer == std::vector<Index>{7, 5});
  CHECK(inner == std::vector<Index>{7, 5});
  const ForwardWatch complaining({.rows = [](const Variable&) { throw Error("enough"); }});
  CHECK_THROWS_WITH(run(), "enough");
  CHECK_THROWS_WITH(run(), "enough");
}

TEST_CASE("Attention::project is q, k and v, head after head") {
  const auto module = make_attention(test::place(kFloat64), {.kind = "softmax", .width = kWidth, .heads = 2});
  test::randomise(*module);
  const Variable x(test::normal({2, 5, kWidth}, kFloat64, 1)), u(test::normal({2, 5, kWidth}, kFloat64, 2));
  const test::slow::Weights w(module->state_dict());
  for (const AttentionInput& in : {AttentionInput{x, x, {}, {}}, AttentionInput{u, x, {}, {}}}) {
    const Heads heads = module->project(in);
    for (const auto& [name, source, got] :
         {std::tuple{"query", x, heads.q}, {"key", x, heads.k}, {"value", in.values, heads.v}}) {
      CAPTURE(name);
      const Tensor want = test::slow::linear(source.value(), w / name).reshape({2, 5, 2, 4}).transpose(1, 2);
      CHECK_CLOSE(got.value(), want, test::dot_tolerance(kFloat64, kWidth));
    }
  }
}

}  // namespace
}  // namespace subquad::nn
