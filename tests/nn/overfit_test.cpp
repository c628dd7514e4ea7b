// Whole models learn one fixed batch by heart, with every attention there is. The label has to come through it: the
// classifier reads the CLS token alone, which without attention is the same in every sequence.
#include <cmath>
#include <functional>

#include "subquad/nn/losses.h"
#include "subquad/nn/mixer.h"
#include "subquad/nn/optim/clip.h"
#include "subquad/nn/optim/optimizer.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

using test::prefix_mask;
using test::random_state;
using test::random_tokens;

constexpr Index kBatch = 8, kLength = 24, kVocabulary = 12, kClasses = 4;

// Mean loss before the first and before the last of `steps` steps on eight sequences with labels of no rule. After each
// step `constrain` may do something to the model.
std::pair<double, double> learn(
    Classifier& model, int steps, const std::function<void()>& constrain = [] {}) {
  const Tensor tokens = random_tokens(kBatch, kLength, kVocabulary, 1);
  const Tensor labels = test::here(tensor<std::int64_t>({0, 1, 2, 3, 3, 1, 0, 2}, {kBatch}));
  const Mask mask = prefix_mask({24, 20, 17, 24, 5, 9, 23, 11}, kLength);
  ParameterArena arena(model);
  const auto optimizer = make_optimizer(arena, {});
  optimizer->set_rate(3e-3);
  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    const Variable loss = cross_entropy(model(tokens, mask, random_state(kBatch, step)), labels);
    arena.zero_grad();
    backward(loss);
    optimizer->step(clip_global_norm(arena, 1).scale);
    constrain();
    last = test::at(loss.value(), 0);
    if (step == 0) first = last;
  }
  return {first, last};
}

AttentionConfig attention(const std::string& kind) {
  AttentionConfig config = {.kind = kind, .heads = kind == "paramixer" ? 1 : 2};
  config.nystrom.landmarks = 6;
  config.nystrom.conv_kernel = 5;
  config.fsat = {.cross = 4, .hidden = 4, .lags = 6, .columns = 4, .window = 1};
  config.paramixer.hidden = 8;
  config.local.window = 3;
  return config;
}

SequenceClassifierConfig in_encoder(const std::string& kind) {
  return {.vocabulary = kVocabulary,
          .classes = kClasses,
          .max_length = kLength,
          .width = 16,
          .layers = 2,
          .hidden = 24,
          .head_hidden = {16},
          .attention = attention(kind),
          .dropout = 0,
          .attention_dropout = 0,
          .pooling = Pooling::cls};
}

TokenMixerConfig in_mixer(const std::string& kind) {
  return {.vocabulary = kVocabulary,
          .mixer = {.outputs = kClasses,
                    .max_length = kLength,
                    .width = 16,
                    .blocks = 1,
                    .attention = attention(kind),
                    .pooling = Pooling::cls}};
}

}  // namespace

TEST_SUITE_BEGIN("cpu");  // hundreds of steps: too many for the interpreter; tests/examples/learner_test.cpp has a few

TEST_CASE("every attention in the encoder learns one batch by heart") {
  for (const std::string& kind : attention_kinds()) {
    CAPTURE(kind);
    SequenceClassifier model(test::place(kFloat32), in_encoder(kind));
    const auto [first, last] = learn(model, 200);
    CHECK(first > 1);
    CHECK(last < 0.02);
  }
}

TEST_CASE("every attention in the mixer learns one batch by heart") {
  for (const std::string& kind : attention_kinds()) {
    CAPTURE(kind);
    TokenMixer model(test::place(kFloat32), in_mixer(kind));
    const auto [first, last] = learn(model, 200);
    CHECK(first > 1);
    CHECK(last < 0.02);
  }
}

TEST_CASE("without attention these models know no more than how often each label comes") {
  const auto learn_without = [](Classifier& model) {
    return learn(model, 200, [&] {
      for (Variable p : model.parameters())
        if (p.name().find(".out.") != std::string::npos) fill(p.mutable_value(), 0);
    });
  };
  SequenceClassifier encoder(test::place(kFloat32), in_encoder("softmax"));
  CHECK(learn_without(encoder).second > std::log(double(kClasses)) - 1e-3);
  TokenMixer mixer(test::place(kFloat32), in_mixer("softmax"));
  CHECK(learn_without(mixer).second > std::log(double(kClasses)) - 1e-3);
}

TEST_SUITE_END();

}  // namespace subquad::nn
