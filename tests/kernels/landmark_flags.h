// Left-out rows for the tests of landmark softmax.
#pragma once

#include "subquad/tests/support/compare.h"

namespace subquad::test {

// All but each so many.
inline Tensor flags(const Shape& shape, Index every) {
  Tensor t = zeros(shape, kBool, kCpu);
  for (Index i = 0; i < t.size(); ++i) t.data<bool>()[i] = i % every != 1;
  return here(t);
}

}  // namespace subquad::test
