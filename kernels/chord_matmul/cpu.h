// CPU kernels of chord_matmul.h.
#pragma once

#include "subquad/kernels/chord_matmul/arguments.h"

namespace subquad::kernels::cpu {

// kept: [M - 1, B, N, D], or undefined.
void chord_chain(const ChainArguments& chain, Tensor& kept, Tensor& out);

// dweights: [M, B, N, L], each sample's own also where weights are shared.
void chord_chain_grad(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                      Tensor& dvalues);

}  // namespace subquad::kernels::cpu
