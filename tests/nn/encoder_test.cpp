#include "subquad/nn/encoder.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/reduce.h"
#include "subquad/nn/pooling.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::random_tokens;
namespace slow = test::slow;

constexpr Index kVocabulary = 7, kMaxLength = 12;

EncoderConfig config(NormOrder norm, double dropout = 0) {
  return {.vocabulary = kVocabulary,
          .max_length = kMaxLength,
          .layers = 2,
          .layer = {.attention = {.width = 8, .heads = 2, .dropout = dropout},
                    .hidden = 6,
                    .norm = norm,
                    .dropout = dropout},
          .embedding_dropout = dropout};
}

Tensor slow_layer(const Tensor& x, const slow::Weights& w, const Mask& mask, NormOrder norm) {
  const bool pre = norm == NormOrder::pre;
  const auto norm1 = [&](const Tensor& t) { return slow::layer_norm(t, w / "norm1", 1e-5); };
  const auto norm2 = [&](const Tensor& t) { return slow::layer_norm(t, w / "norm2", 1e-5); };
  const Tensor mixed = slow::attention(pre ? norm1(x) : x, w / "attention", 2, mask, false);
  const Tensor middle = pre ? slow::add(x, mixed) : norm1(slow::add(x, mixed));
  const Tensor fed = slow::feed_forward(pre ? norm2(middle) : middle, w / "feed_forward");
  return pre ? slow::add(middle, fed) : norm2(slow::add(middle, fed));
}

// The whole encoder without cls and dropout.
Tensor slow_encoder(const Tensor& tokens, const slow::Weights& w, const Mask& mask, NormOrder norm) {
  const Tensor table = w("tokens.weight"), places = w("positions.weight"), ids = test::doubles(tokens);
  Tensor x = empty({tokens.dim(0), tokens.dim(1), table.dim(1)}, kFloat64, kCpu);
  auto cell = x.view<double, 3>();
  for (Index b = 0; b < x.dim(0); ++b)
    for (Index i = 0; i < x.dim(1); ++i)
      for (Index d = 0; d < x.dim(2); ++d)
        cell(b, i, d) = test::at(table, {static_cast<Index>(test::at(ids, {b, i})), d}) + test::at(places, {i, d});
  for (Index layer = 0; layer < 2; ++layer) x = slow_layer(x, w / cat("layers.", layer), mask, norm);
  return norm == NormOrder::pre ? slow::layer_norm(x, w / "norm", 1e-5) : x;
}

// Pooled features: padded positions of the encoder's result are unspecified.
Variable pooled(const Encoder& encoder, const Tensor& tokens, const Mask& mask, const RandomState& rng = {}) {
  const Encoded out = encoder(tokens, mask, rng);
  return pool_mean(out.features, out.mask);
}

TEST_CASE("Encoder equals the loops, pre-norm and post-norm") {
  test::for_each_float([](DType dtype) {
    for (const NormOrder norm : {NormOrder::pre, NormOrder::post}) {
      const Encoder encoder(test::place(dtype, 4), config(norm));
      test::randomise(encoder);
      const Tensor tokens = random_tokens(3, 10, kVocabulary, 1);
      for (const Mask& mask : {prefix_mask({10, 3, 1}, 10), Mask()}) {
        const Tensor want = slow_encoder(tokens, encoder.state_dict(), mask, norm);
        CHECK_CLOSE(pooled(encoder, tokens, mask).value(), pool_mean(Variable(want), mask.to(kCpu)).value(),
                    test::dot_tolerance(dtype, 1000));
      }
    }
  });
}

TEST_CASE("Encoder gradients") {
  for (const NormOrder norm : {NormOrder::pre, NormOrder::post}) {
    EncoderConfig c = config(norm, 0.25);
    c.layers = 1;
    c.cls = norm == NormOrder::post;
    const Encoder encoder(test::place(kFloat64), c);
    test::randomise(encoder);
    const Tensor tokens = random_tokens(2, 4, kVocabulary, 1);
    const Mask mask = prefix_mask({4, 2}, 4);
    CHECK_MODULE_GRADIENTS(encoder, [&](const auto&) { return pooled(encoder, tokens, mask, random_state(2)); });
  }
}

TEST_CASE("Encoder puts cls before the tokens, real in every sample") {
  EncoderConfig c = config(NormOrder::pre);
  c.cls = true;
  const Encoder encoder(test::place(kFloat32), c);
  CHECK(encoder.state_dict().at("cls").shape() == Shape{8});
  CHECK(encoder.state_dict().at("positions.weight").shape() == Shape{kMaxLength + 1, 8});
  const Encoded out = encoder(random_tokens(2, kMaxLength, kVocabulary, 1), prefix_mask({12, 0}, kMaxLength), {});
  CHECK(out.features.shape() == Shape{2, kMaxLength + 1, 8});
  CHECK(test::at(out.mask.lengths, 0) == 13);
  CHECK(test::at(out.mask.lengths, 1) == 1);
  CHECK(test::at(out.mask.real, {1, 0}) == 1);
  CHECK(test::at(out.mask.real, {1, 1}) == 0);
  CHECK_FALSE(encoder(random_tokens(2, 3, kVocabulary, 1), {}, {}).mask.defined());
}

// Output for the first sample and all gradients of its sum, for a batch of any kind around it.
std::vector<Tensor> first_sample(Encoder& encoder, const Tensor& tokens, const Mask& mask) {
  encoder.zero_grad();
  const Variable out = pooled(encoder, tokens, mask, random_state(tokens.dim(0)));
  Tensor upstream = zeros(out.shape(), out.dtype(), test::device());
  Tensor first = upstream.select(0, 0);
  fill(first, 1);
  backward(sum(mul(out, Variable(upstream))));
  std::vector<Tensor> results = {out.value().select(0, 0)};
  for (const Variable& p : encoder.parameters()) results.push_back(p.grad().clone());
  return results;
}

Tensor replaced(const Tensor& tokens, Index sample, Index from, std::uint64_t seed) {
  Tensor out = tokens.to(kCpu).clone();
  Rng rng(seed);
  for (Index i = from; i < tokens.dim(1); ++i) out.view<std::int64_t, 2>()(sample, i) = rng.below(kVocabulary);
  return test::here(out);
}

TEST_CASE("Encoder depends on nothing but a sample's own tokens") {
  for (const NormOrder norm : {NormOrder::pre, NormOrder::post}) {
    Encoder encoder(test::place(kFloat32), config(norm, 0.25));
    test::randomise(encoder);
    const Tensor tokens = random_tokens(3, 10, kVocabulary, 1);
    const Mask mask = prefix_mask({6, 10, 0}, 10);
    const std::vector<Tensor> want = first_sample(encoder, tokens, mask);
    for (std::uint64_t seed = 2; seed < 5; ++seed) {  // other tokens at padded positions: no bit changes
      const std::vector<Tensor> got = first_sample(encoder, replaced(replaced(tokens, 0, 6, seed), 2, 0, seed), mask);
      for (std::size_t i = 0; i < want.size(); ++i) CHECK(test::same_bits(got[i], want[i]));
    }
    const std::vector<Tensor> mates = first_sample(encoder, replaced(tokens, 1, 0, 7), prefix_mask({6, 2, 4}, 10));
    CHECK(test::same_bits(mates[0], want[0]));
    // In a batch of another shape BLAS may group a row's products differently, so the last bits may move; gradients are
    // sums over all rows, whose order moves, too.
    const auto compare = [&](const Tensor& other, const Mask& other_mask) {
      const std::vector<Tensor> got = first_sample(encoder, other, other_mask);
      for (std::size_t i = 0; i < want.size(); ++i) CHECK_CLOSE(got[i], want[i], test::dot_tolerance(kFloat32, 30));
    };
    compare(tokens.slice(0, 0, 1).slice(1, 0, 6).contiguous(), prefix_mask({6}, 6));
    Tensor wider = random_tokens(3, 12, kVocabulary, 9);
    Tensor middle = wider.slice(1, 0, 10);
    copy(tokens, middle);
    compare(wider, prefix_mask({6, 12, 1}, 12));
  }
}

TEST_CASE("Encoder is finite for samples without tokens and for batches without samples") {
  for (const NormOrder norm : {NormOrder::pre, NormOrder::post}) {
    Encoder encoder(test::place(kFloat32), config(norm, 0.25));
    for (const Index positions : {0, 1, 5}) {
      const DetectAnomaly detect;  // throws at the first NaN or infinity, in forward and backward
      const Tensor tokens = random_tokens(2, positions, kVocabulary, 1);
      const Variable out = pooled(encoder, tokens, prefix_mask({0, 0}, positions), random_state(2));
      CHECK_CLOSE(out.value(), zeros({2, 8}, kFloat64, kCpu), 0);
      backward(sum(out));
    }
    const Variable none = pooled(encoder, random_tokens(0, 5, kVocabulary, 1), prefix_mask({}, 5), random_state(0));
    CHECK(none.shape() == Shape{0, 8});
    backward(sum(none));
    for (const Variable& p : encoder.parameters()) CHECK_CLOSE(p.grad(), zeros(p.shape(), kFloat64, kCpu), 0);
  }
}

TEST_CASE("Encoder gives the same gradients with checkpoint_layers") {
  EncoderConfig c = config(NormOrder::pre, 0.25);
  Encoder plain(test::place(kFloat32), c);
  c.checkpoint_layers = true;
  Encoder saving(test::place(kFloat32), c);
  const Tensor tokens = random_tokens(3, 10, kVocabulary, 1);
  const Mask mask = prefix_mask({6, 10, 2}, 10);
  const std::vector<Tensor> want = first_sample(plain, tokens, mask), got = first_sample(saving, tokens, mask);
  for (std::size_t i = 0; i < want.size(); ++i) CHECK(test::same_bits(got[i], want[i]));
}

TEST_CASE("Encoder says in which layer a NaN was made") {
  const DetectAnomaly detect;
  const Encoder encoder(test::place(kFloat32), config(NormOrder::pre));
  StateDict state = encoder.state_dict();
  fill(state.at("layers.1.feed_forward.first.weight"), 3e38);
  CHECK_THROWS_WITH_AS(encoder(random_tokens(2, 5, kVocabulary, 1), {}, {}),
                       doctest::Contains("in layers.1.feed_forward.first made"), Error);
}

TEST_CASE("Encoder names a sequence that is too long and a norm that is unknown") {
  const Encoder encoder(test::place(kFloat32), config(NormOrder::pre));
  CHECK_THROWS_WITH_AS(
      encoder(random_tokens(2, 13, kVocabulary, 1), {}, {}),
      cat("encoder: tokens is [2, 13] int64 ", test::device(), ", expected at most 12 positions (max_length)").c_str(),
      ShapeError);
  CHECK_THROWS_WITH_AS(parse_norm_order("middle"), "norm: 'middle', expected one of pre, post", Error);
  CHECK(norm_order_name(parse_norm_order("post")) == "post");
}

}  // namespace
}  // namespace subquad::nn
