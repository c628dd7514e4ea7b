#include "subquad/nn/embedding.h"

#include "subquad/autograd/ops/embedding.h"

namespace subquad::nn {

Embedding::Embedding(const Place& place, Index vocabulary, Index width, const Init& init)
    : Module(place), table_(parameter("weight", {vocabulary, width}, init)) {}

Variable Embedding::operator()(const Tensor& ids) const {
  const ModuleScope scope = enter();
  return embedding(table_, ids);
}

}  // namespace subquad::nn
