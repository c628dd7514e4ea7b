#include "subquad/nn/two_tower.h"

#include "subquad/autograd/ops/elementwise.h"
#include "subquad/autograd/ops/shape.h"
#include "subquad/core/check.h"

namespace subquad::nn {

namespace {

ClassifierHeadConfig head_config(const SequenceClassifierConfig& config) {
  return {.inputs = 4 * pooled_width(config),
          .hidden = config.head_hidden,
          .hidden_layers = config.head_layers,
          .classes = config.classes};
}

// The layers of both towers are the same ones and draw from the same streams; another seed keeps the masks apart.
RandomState of_second_tower(RandomState rng) {
  rng.seed ^= stream_id("second tower");
  return rng;
}

}  // namespace

TwoTowerClassifier::TwoTowerClassifier(const Place& place, const SequenceClassifierConfig& config)
    : Module(place),
      config_(config),
      encoder_(child("encoder"), encoder_config(config)),
      head_(child("head"), head_config(config)) {}

Variable TwoTowerClassifier::operator()(const TokenBatch& a, const TokenBatch& b, const RandomState& rng) const {
  const ModuleScope scope = enter();
  check_rank("two_tower", "a", a.tokens, 2);
  check_rank("two_tower", "b", b.tokens, 2);
  if (a.tokens.dim(0) != b.tokens.dim(0))
    throw ShapeError(cat("two_tower: b is ", describe(b.tokens), ", expected the ", a.tokens.dim(0), " samples of a"));
  const Variable first = pool(config_, encoder_(a.tokens, a.mask, rng));  // [B, F]
  const Variable second = pool(config_, encoder_(b.tokens, b.mask, of_second_tower(rng)));
  return head_(concat({first, second, mul(first, second), sub(first, second)}, 1));  // [B, 4 F] -> [B, C]
}

}  // namespace subquad::nn
