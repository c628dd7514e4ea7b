#include "subquad/nn/two_tower.h"

#include "subquad/autograd/ops/reduce.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::random_tokens;
namespace slow = test::slow;

SequenceClassifierConfig config(Pooling pooling, double dropout = 0) {
  return {.vocabulary = 7,
          .classes = 3,
          .max_length = 8,
          .width = 8,
          .layers = 1,
          .hidden = 12,
          .head_hidden = {10},
          .dropout = dropout,
          .attention_dropout = dropout,
          .pooling = pooling};
}

// [a, b, a * b, a - b], each [B, F]
Tensor four_parts(const Tensor& a, const Tensor& b) {
  const Index batch = a.dim(0), width = a.dim(1);
  Tensor all = empty({batch, 4 * width}, kFloat64, kCpu);
  auto cell = all.view<double, 2>();
  for (Index s = 0; s < batch; ++s)
    for (Index f = 0; f < width; ++f) {
      const double x = test::at(a, {s, f}), y = test::at(b, {s, f});
      cell(s, f) = x;
      cell(s, width + f) = y;
      cell(s, 2 * width + f) = x * y;
      cell(s, 3 * width + f) = x - y;
    }
  return all;
}

TEST_CASE("TwoTowerClassifier: both sequences pass one encoder, the head sees both vectors, product and difference") {
  for (const Pooling pooling : {Pooling::mean, Pooling::cls, Pooling::flatten}) {
    const TwoTowerClassifier model(test::place(kFloat64), config(pooling));
    test::randomise(model);
    const Tensor a = random_tokens(3, 6, 7, 1), b = random_tokens(3, 8, 7, 2);
    const Mask mask_a = prefix_mask({6, 2, 0}, 6), mask_b = prefix_mask({1, 8, 4}, 8);
    const auto vector = [&](const Tensor& tokens, const Mask& mask) {
      return pool(model.config(), model.encoder()(tokens, mask, {})).value();
    };
    const slow::Weights w = slow::Weights(model.state_dict()) / "head";
    const Tensor parts = four_parts(vector(a, mask_a), vector(b, mask_b));
    const Tensor want = slow::linear(slow::relu(slow::linear(parts, w / "layers.0")), w / "layers.1");
    CHECK_CLOSE(model({a, mask_a}, {b, mask_b}, {}).value(), want, test::dot_tolerance(kFloat64, 300));
    CHECK(model({random_tokens(0, 5, 7, 1), {}}, {random_tokens(0, 2, 7, 1), {}}, {}).shape() == Shape{0, 3});
  }
}

TEST_CASE("TwoTowerClassifier: a head of three layers sees the two vectors and nothing else") {
  SequenceClassifierConfig of_jax = config(Pooling::mean);
  of_jax.head_hidden = {10, 5};
  const TwoTowerClassifier model(test::place(kFloat64), of_jax, PairFeatures::concatenated);
  test::randomise(model);
  const Tensor a = random_tokens(3, 6, 7, 1), b = random_tokens(3, 8, 7, 2);
  const Mask mask_a = prefix_mask({6, 2, 0}, 6), mask_b = prefix_mask({1, 8, 4}, 8);
  const auto vector = [&](const Tensor& tokens, const Mask& mask) {
    return pool(model.config(), model.encoder()(tokens, mask, {})).value();
  };
  const Tensor first = vector(a, mask_a), second = vector(b, mask_b);
  Tensor both = empty({3, 16}, kFloat64, kCpu);
  auto cell = both.view<double, 2>();
  for (Index s = 0; s < 3; ++s)
    for (Index f = 0; f < 16; ++f) cell(s, f) = f < 8 ? test::at(first, {s, f}) : test::at(second, {s, f - 8});
  const slow::Weights w = slow::Weights(model.state_dict()) / "head";
  const Tensor h = slow::relu(slow::linear(slow::relu(slow::linear(both, w / "layers.0")), w / "layers.1"));
  CHECK_CLOSE(model({a, mask_a}, {b, mask_b}, {}).value(), slow::linear(h, w / "layers.2"),
              test::dot_tolerance(kFloat64, 300));
}

TEST_CASE("TwoTowerClassifier gradients") {
  const Tensor a = random_tokens(2, 5, 7, 1), b = random_tokens(2, 3, 7, 2);
  const Mask mask_a = prefix_mask({5, 3}, 5), mask_b = prefix_mask({1, 3}, 3);
  for (const PairFeatures features : {PairFeatures::interaction, PairFeatures::concatenated}) {
    CAPTURE(pair_features_name(features));
    if (test::interpreted() && features == PairFeatures::concatenated) continue;  // time
    SequenceClassifierConfig small = config(Pooling::mean, 0.25);
    if (features == PairFeatures::concatenated) small.head_hidden = {10, 5};
    const TwoTowerClassifier model(test::place(kFloat64), small, features);
    test::randomise(model);
    CHECK_MODULE_GRADIENTS(model, [&](const auto&) { return model({a, mask_a}, {b, mask_b}, random_state(2)); });
  }
}

TEST_CASE("TwoTowerClassifier has the parameters of the Long Range Arena's Retrieval baseline") {
  // Tay et al. 2021, code of 2022-09: 4 layers of 128 features, 4 heads without biases, feed-forward 512, bytes and
  // padding, the head 2 * 128 - 512 - 256 - 2.
  const Index layer = 4 * 128 * 128 + 2 * 2 * 128 + (128 * 512 + 512) + (512 * 128 + 128);
  const Index head = (256 * 512 + 512) + (512 * 256 + 256) + (256 * 2 + 2);
  const TwoTowerClassifier model(test::place(kFloat32),
                                 {.vocabulary = 257,
                                  .classes = 2,
                                  .max_length = 4000,
                                  .width = 128,
                                  .layers = 4,
                                  .hidden = 512,
                                  .head_hidden = {512, 256},
                                  .attention = {.heads = 4, .bias = false},
                                  .positions = PositionKind::sinusoid},
                                 PairFeatures::concatenated);
  CHECK(model.parameter_count() == 257 * 128 + 4 * layer + 2 * 128 + head);
  CHECK(model.parameter_count() == 1087618);
}

TEST_CASE("TwoTowerClassifier has the parameters of the published PyTorch model for Retrieval") {
  // Xiong et al. 2021, LRA: 2 layers of 64 features, 2 heads, feed-forward 128, 512 ids, head 4 * 64 - 128 - 2.
  const Index layer = 4 * (64 * 64 + 64) + 2 * 2 * 64 + (64 * 128 + 128) + (128 * 64 + 64);
  const Index want = 512 * 64 + 4096 * 64 + 2 * layer + 2 * 64 + (256 * 128 + 128) + (128 * 2 + 2);
  const TwoTowerClassifier model(test::place(kFloat32), {.vocabulary = 512, .classes = 2, .max_length = 4096});
  CHECK(model.parameter_count() == want);
}

TEST_CASE("TwoTowerClassifier: the towers' dropout masks differ, and are the same again in the same step") {
  const TwoTowerClassifier model(test::place(kFloat32), config(Pooling::mean, 0.5));
  const Tensor a = random_tokens(2, 8, 7, 1);
  const Tensor vector = pool(model.config(), model.encoder()(a, {}, random_state(2))).value();
  const Tensor first = model({a, {}}, {a, {}}, random_state(2)).value();
  CHECK(test::same_bits(model({a, {}}, {a, {}}, random_state(2)).value(), first));
  const slow::Weights w = slow::Weights(model.state_dict()) / "head";
  const Tensor same = four_parts(vector, vector);
  const Tensor with_equal_masks = slow::linear(slow::relu(slow::linear(same, w / "layers.0")), w / "layers.1");
  CHECK(test::largest_error(first, with_equal_masks) > 1e-3);
}

TEST_CASE("TwoTowerClassifier depends on nothing but the real tokens of a pair") {
  const TwoTowerClassifier model(test::place(kFloat32), config(Pooling::mean));
  test::randomise(model);
  const Tensor a = random_tokens(2, 6, 7, 1), b = random_tokens(2, 6, 7, 2);
  const Mask mask_a = prefix_mask({4, 6}, 6), mask_b = prefix_mask({3, 5}, 6);
  const Tensor want = model({a, mask_a}, {b, mask_b}, {}).value();
  for (std::uint64_t seed = 3; seed < 6; ++seed) {
    Tensor other = b.to(kCpu).clone();
    Rng rng(seed);
    for (Index s = 0; s < 2; ++s)
      for (Index i = s == 0 ? 3 : 5; i < 6; ++i) other.view<std::int64_t, 2>()(s, i) = rng.below(7);
    CHECK(test::same_bits(model({a, mask_a}, {test::here(other), mask_b}, {}).value(), want));
  }
}

TEST_CASE("TwoTowerClassifier names towers of unequal batches") {
  const TwoTowerClassifier model(test::place(kFloat32), config(Pooling::mean));
  CHECK_THROWS_WITH_AS(model({random_tokens(2, 5, 7, 1), {}}, {random_tokens(3, 5, 7, 1), {}}, {}),
                       cat("two_tower: b is [3, 5] int64 ", test::device(), ", expected the 2 samples of a").c_str(),
                       ShapeError);
}

}  // namespace
}  // namespace subquad::nn
