#include "subquad/nn/embedding.h"

#include "subquad/autograd/ops/embedding.h"

namespace subquad::nn {

Embedding::Embedding(const Place& place, Index vocabulary, Index width, const Init& init, Index frozen)
    : Module(place), table_(parameter("weight", {vocabulary, width}, init)), frozen_(frozen) {
  if (frozen < -1 || frozen >= vocabulary)
    throw Error(cat("embedding: frozen is ", frozen, ", expected -1 or a row of the ", vocabulary));
}

Variable Embedding::operator()(const Tensor& ids) const {
  const ModuleScope scope = enter();
  return embedding(table_, ids, frozen_);
}

}  // namespace subquad::nn
