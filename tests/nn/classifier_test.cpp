#include "subquad/nn/classifier.h"

#include "subquad/core/allocator.h"
#include "subquad/nn/losses.h"
#include "subquad/nn/optim/clip.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/tests/nn/module_check.h"
#include "subquad/tests/nn/slow.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::random_tokens;

SequenceClassifierConfig small(Pooling pooling) {
  return {.vocabulary = 7,
          .classes = 3,
          .max_length = 8,
          .width = 8,
          .layers = 1,
          .hidden = 12,
          .head_hidden = {10},
          .dropout = 0,
          .attention_dropout = 0,
          .pooling = pooling};
}

TEST_CASE("ClassifierHead equals the loops") {
  for (const std::vector<Index>& hidden : {std::vector<Index>{}, {6}, {6, 5}}) {
    const ClassifierHead head(test::place(kFloat64), {.inputs = 4, .hidden = hidden, .classes = 3});
    test::randomise(head);
    const test::slow::Weights w(head.state_dict());
    const Tensor x = test::normal({5, 4}, kFloat64, 1);
    Tensor want = x;
    for (std::size_t i = 0; i < hidden.size(); ++i)
      want = test::slow::relu(test::slow::linear(want, w / cat("layers.", i)));
    want = test::slow::linear(want, w / cat("layers.", hidden.size()));
    CHECK_CLOSE(head(Variable(x)).value(), want, test::dot_tolerance(kFloat64, 16));
    CHECK_MODULE_GRADIENTS(head, [&](const auto& in) { return head(in[0]); }, {test::leaf({2, 4}, 2)});
  }
}

TEST_CASE("SequenceClassifier is encoder, pooling and head") {
  for (const Pooling pooling : {Pooling::mean, Pooling::cls, Pooling::flatten}) {
    const SequenceClassifier model(test::place(kFloat64), small(pooling));
    test::randomise(model);
    const Tensor tokens = random_tokens(3, 6, 7, 1);
    const Mask mask = prefix_mask({6, 2, 0}, 6);
    const Encoded encoded = model.encoder()(tokens, mask, {});
    const Variable features = pooling == Pooling::mean  ? pool_mean(encoded.features, encoded.mask)
                              : pooling == Pooling::cls ? pool_cls(encoded.features)
                                                        : pool_flatten(encoded.features, encoded.mask, 8);
    const test::slow::Weights w = test::slow::Weights(model.state_dict()) / "head";
    const Tensor want =
        test::slow::linear(test::slow::relu(test::slow::linear(features.value(), w / "layers.0")), w / "layers.1");
    CHECK_CLOSE(model(tokens, mask, {}).value(), want, test::dot_tolerance(kFloat64, 100));
    CHECK(model(random_tokens(0, 6, 7, 1), prefix_mask({}, 6), {}).shape() == Shape{0, 3});
  }
}

TEST_CASE("SequenceClassifier gradients") {
  for (const Pooling pooling : {Pooling::mean, Pooling::cls, Pooling::flatten}) {
    const SequenceClassifier model(test::place(kFloat64), small(pooling));
    test::randomise(model);
    const Tensor tokens = random_tokens(2, 5, 7, 1);
    CHECK_MODULE_GRADIENTS(model, [&](const auto&) { return model(tokens, prefix_mask({5, 3}, 5), {}); });
  }
}

TEST_CASE("SequenceClassifier can divide the mean by max_length, as published code does") {
  SequenceClassifierConfig config = small(Pooling::mean);
  config.head_hidden = {};
  const SequenceClassifier plain(test::place(kFloat64), config);
  config.over_padded_length = true;
  const SequenceClassifier quirk(test::place(kFloat64), config);  // same seed and names, same parameters; the bias is 0
  const Tensor tokens = random_tokens(1, 6, 7, 1);
  const Mask mask = prefix_mask({2}, 6);
  const Tensor a = plain(tokens, mask, {}).value(), b = quirk(tokens, mask, {}).value();
  for (Index c = 0; c < 3; ++c) CHECK(std::abs(test::at(a, c) * 2 / 8 - test::at(b, c)) < 1e-14);
}

TEST_CASE("SequenceClassifier has the parameters of the published model") {
  // Xiong et al. 2021, LRA: 2 layers of 64 features, 2 heads, feed-forward 128, head 64 - 128 - classes.
  const Index layer = 4 * (64 * 64 + 64) + 2 * 2 * 64 + (64 * 128 + 128) + (128 * 64 + 64);
  const Index want = 32 * 64 + 2048 * 64 + 2 * layer + 2 * 64 + (64 * 128 + 128) + (128 * 10 + 10);
  const SequenceClassifier model(test::place(kFloat32), {.vocabulary = 32, .classes = 10, .max_length = 2048});
  CHECK(model.parameter_count() == want);
}

TEST_CASE("SequenceClassifier has the parameters of the Long Range Arena's ListOps baseline") {
  // Tay et al. 2021, code of 2022-09: 4 layers, 512 features, 8 heads, feed-forward 1024, 17 tokens, CLS.
  const SequenceClassifier model(test::place(kFloat32), {.vocabulary = 17,
                                                         .classes = 10,
                                                         .max_length = 2000,
                                                         .width = 512,
                                                         .layers = 4,
                                                         .hidden = 1024,
                                                         .head_hidden = {1024},
                                                         .attention = {.heads = 8, .bias = false},
                                                         .positions = PositionKind::sinusoid,
                                                         .pooling = Pooling::cls});
  CHECK(model.parameter_count() == 8948746);
}

// A model in training on one fixed batch of eight.
class Training {
 public:
  Training() : model_(test::place(kFloat32), config()), arena_(model_), optimizer_(make_optimizer(arena_, {})) {
    optimizer_->set_rate(3e-3);
  }

  double step() {
    const RandomState rng = random_state(8, optimizer_->steps());
    const Variable loss = cross_entropy(model_(tokens_, mask_, rng), labels_);
    arena_.zero_grad();
    backward(loss);
    optimizer_->step(clip_global_norm(arena_, 1).scale);
    return test::at(loss.value(), 0);
  }

 private:
  static SequenceClassifierConfig config() {
    SequenceClassifierConfig c = small(Pooling::mean);
    c.dropout = c.attention_dropout = 0.1;
    return c;
  }

  SequenceClassifier model_;
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  Tensor tokens_ = random_tokens(8, 8, 7, 1);
  Tensor labels_ = test::here(tensor<std::int64_t>({0, 1, 2, 0, 1, 2, 0, 1}, {8}));
  Mask mask_ = prefix_mask({8, 7, 6, 5, 8, 8, 4, 8}, 8);
};

TEST_CASE("SequenceClassifier learns a fixed small batch") {
  Training training;
  const double first = training.step();
  double last = first;
  const int steps = test::interpreted() ? 15 : 150;
  for (int step = 1; step < steps; ++step) last = training.step();
  CHECK(last < (test::interpreted() ? first : first / 2));
}

TEST_CASE("a training step leaves no memory behind and soon asks the system for none") {
  Training training;
  for (int step = 0; step < 5; ++step) training.step();
  const MemoryStats steady = memory_stats(test::device());
  for (int step = 0; step < (test::interpreted() ? 10 : 200); ++step) {
    training.step();
    REQUIRE(memory_stats(test::device()).current_bytes == steady.current_bytes);
  }
  CHECK(memory_stats(test::device()).system_allocations == steady.system_allocations);
}

}  // namespace
}  // namespace subquad::nn
