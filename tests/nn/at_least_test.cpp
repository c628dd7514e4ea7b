#include "subquad/nn/at_least.h"

#include "subquad/nn/factor_mlp.h"
#include "subquad/nn/mixer.h"
#include "subquad/nn/two_tower.h"
#include "subquad/tests/nn/module_check.h"

namespace subquad::nn {
namespace {

// A legal config with one member changed.
template <class Config, class Member>
Config with(Config config, Member Config::*member, Member value) {
  config.*member = value;
  return config;
}

TEST_CASE("SequenceClassifier and TwoTowerClassifier name the size that is too small") {
  using Config = SequenceClassifierConfig;
  const Config legal = {.vocabulary = 5, .classes = 2, .max_length = 8, .width = 4, .hidden = 6};
  const auto check = [&](Index Config::*member, Index value, const char* message) {
    const Config config = with(legal, member, value);
    CHECK_THROWS_WITH_AS(SequenceClassifier(test::place(kFloat32), config), message, Error);
    CHECK_THROWS_WITH_AS(TwoTowerClassifier(test::place(kFloat32), config), message, Error);
  };
  CHECK_NOTHROW(SequenceClassifier(test::place(kFloat32), legal));
  check(&Config::vocabulary, 0, "encoder: vocabulary is 0, expected at least 1");
  check(&Config::max_length, 0, "encoder: max_length is 0, expected at least 1");
  check(&Config::layers, -1, "encoder: layers is -1, expected at least 0");
  check(&Config::width, 0, "encoder: width is 0, expected at least 1");
  check(&Config::hidden, -2, "feed_forward: hidden is -2, expected at least 1");
  check(&Config::classes, 0, "classifier_head: classes is 0, expected at least 1");
}

TEST_CASE("ClassifierHead names a hidden size that is too small, and needs none") {
  CHECK_THROWS_WITH_AS(ClassifierHead(test::place(kFloat32), {.inputs = 4, .hidden = {3, 0}, .classes = 2}),
                       "classifier_head: hidden is 0, expected at least 1", Error);
  CHECK_NOTHROW(ClassifierHead(test::place(kFloat32), {.inputs = 4, .hidden = {}, .classes = 2}));
}

TEST_CASE("Mixer, TokenMixer and FeatureMixer name the size that is too small") {
  const MixerConfig legal = {.outputs = 2, .max_length = 8, .width = 4};
  const auto check = [&](Index MixerConfig::*member, Index value, const char* message) {
    const MixerConfig config = with(legal, member, value);
    CHECK_THROWS_WITH_AS(Mixer(test::place(kFloat32), config), message, Error);
    CHECK_THROWS_WITH_AS(FeatureMixer(test::place(kFloat32), 2, config), message, Error);
    CHECK_THROWS_WITH_AS(TokenMixer(test::place(kFloat32), {.vocabulary = 3, .mixer = config}), message, Error);
  };
  CHECK_NOTHROW(Mixer(test::place(kFloat32), legal));
  check(&MixerConfig::outputs, 0, "mixer: outputs is 0, expected at least 1");
  check(&MixerConfig::max_length, -5, "mixer: max_length is -5, expected at least 1");
  check(&MixerConfig::width, 0, "mixer: width is 0, expected at least 1");
  check(&MixerConfig::blocks, -1, "mixer: blocks is -1, expected at least 0");
  CHECK_THROWS_WITH_AS(FeatureMixer(test::place(kFloat32), 0, legal), "mixer: features is 0, expected at least 1",
                       Error);
  CHECK_THROWS_WITH_AS(TokenMixer(test::place(kFloat32), {.vocabulary = 0, .mixer = legal}),
                       "mixer: vocabulary is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(TokenMixer(test::place(kFloat32), {.vocabulary = 3, .mixer = legal, .embedding_bound = -0.1}),
                       "mixer: embedding_bound is -0.1, expected a finite number from 0 on", Error);
}

TEST_CASE("FactorMlp names the size that is too small") {
  using Config = FactorMlpConfig;
  const Config legal = {.factors = 2, .inputs = 3, .hidden = 4, .outputs = 5};
  const auto check = [&](Index Config::*member, const char* message) {
    CHECK_THROWS_WITH_AS(FactorMlp(test::place(kFloat32), with(legal, member, Index{0})), message, Error);
  };
  check(&Config::factors, "factor_mlp: factors is 0, expected at least 1");
  check(&Config::inputs, "factor_mlp: inputs is 0, expected at least 1");
  check(&Config::hidden, "factor_mlp: hidden is 0, expected at least 1");
  check(&Config::outputs, "factor_mlp: outputs is 0, expected at least 1");
}

}  // namespace
}  // namespace subquad::nn
