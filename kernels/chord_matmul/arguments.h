// What the doors of chord_matmul.h hand to a backend: a chain of M factors, of which a single one has M = 1. Arguments
// are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/chord_matmul/chord_matmul.h"

namespace subquad::kernels {

struct ChainArguments {
  Tensor weights;  // [M, B, N, L]; of shared weights, the second stride is 0
  Tensor values;   // [B, N, D]
  const std::vector<Links>& links;
  MixResidual residual;
  const Mask& mask;
};

}  // namespace subquad::kernels
