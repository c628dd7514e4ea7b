// CPU kernels of chord_matmul.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/chord_matmul/chord_matmul.h"

namespace subquad::kernels::cpu {

struct ChainArguments {
  Tensor weights;  // [M, B, N, L]; of shared weights, the second stride is 0
  Tensor values;   // [B, N, D]
  const std::vector<Links>& links;
  MixResidual residual;
  const Mask& mask;
};

// kept: [M - 1, B, N, D], or undefined.
void chord_chain(const ChainArguments& chain, Tensor& kept, Tensor& out);

// dweights: [M, B, N, L], each sample's own also where weights are shared.
void chord_chain_grad(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                      Tensor& dvalues);

}  // namespace subquad::kernels::cpu
