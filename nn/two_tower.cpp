#include "subquad/nn/two_tower.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"
#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

constexpr Choices<PairFeatures, 2> kPairFeatures = {
    {{"interaction", PairFeatures::interaction}, {"concatenated", PairFeatures::concatenated}}};

ClassifierHeadConfig head_config(const SequenceClassifierConfig& config, PairFeatures features) {
  const Index vectors = features == PairFeatures::interaction ? 4 : 2;
  return {.inputs = vectors * pooled_width(config), .hidden = config.head_hidden, .classes = config.classes};
}

// The layers of both towers are the same ones and draw from the same streams; another seed keeps the masks apart.
RandomState of_second_tower(RandomState rng) {
  rng.seed ^= stream_id("second tower");
  return rng;
}

}  // namespace

PairFeatures parse_pair_features(std::string_view name) {
  return choose("pair features", kPairFeatures, name);
}

std::string_view pair_features_name(PairFeatures features) {
  return name_of(kPairFeatures, features);
}

TwoTowerClassifier::TwoTowerClassifier(const Place& place, const SequenceClassifierConfig& config,
                                       PairFeatures features)
    : Module(place),
      config_(config),
      features_(features),
      encoder_(child("encoder"), encoder_config(config)),
      head_(child("head"), head_config(config, features)) {}

Variable TwoTowerClassifier::operator()(const TokenBatch& a, const TokenBatch& b, const RandomState& rng) const {
  const ModuleScope scope = enter();
  check_rank("two_tower", "a", a.tokens, 2);
  check_rank("two_tower", "b", b.tokens, 2);
  if (a.tokens.dim(0) != b.tokens.dim(0))
    throw ShapeError(cat("two_tower: b is ", describe(b.tokens), ", expected the ", a.tokens.dim(0), " samples of a"));
  const Variable first = pool(config_, encoder_(a.tokens, a.mask, rng));  // [B, F]
  const Variable second = pool(config_, encoder_(b.tokens, b.mask, of_second_tower(rng)));
  if (features_ == PairFeatures::concatenated) return head_(concat({first, second}, 1));  // [B, 2 F] -> [B, C]
  return head_(concat({first, second, mul(first, second), sub(first, second)}, 1));       // [B, 4 F] -> [B, C]
}

}  // namespace subquad::nn
