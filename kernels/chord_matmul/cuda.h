// CUDA kernels of chord_matmul.h; the contracts of cpu.h.
#pragma once

#include "subquad/kernels/chord_matmul/arguments.h"

namespace subquad::kernels::cuda {

void chord_chain(const ChainArguments& chain, Tensor& kept, Tensor& out);

void chord_chain_grad(const ChainArguments& chain, const Tensor& dout, const Tensor& kept, Tensor& dweights,
                      Tensor& dvalues);

}  // namespace subquad::kernels::cuda
