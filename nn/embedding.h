// Embedding: a learned row for every token id.
#pragma once

#include "subquad/nn/module.h"

namespace subquad::nn {

class Embedding : public Module {
 public:
  // The row `frozen`, if there is one (-1: none), gets no gradient: it keeps its first values unless weights decay.
  Embedding(const Place& place, Index vocabulary, Index width, const Init& init = normal_init(1), Index frozen = -1);

  // int64 [...] -> [..., width]. An id outside [0, vocabulary) is an Error that names position and id.
  Variable operator()(const Tensor& ids) const;
  const Variable& table() const { return table_; }  // "weight" [vocabulary, width]

 private:
  Variable table_;
  Index frozen_;
};

}  // namespace subquad::nn
