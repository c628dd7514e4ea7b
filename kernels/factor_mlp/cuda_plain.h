// factor_mlp of any sizes in float32 and float64, without tensor cores.
#pragma once

#include "subquad/kernels/factor_mlp/cuda_sizes.h"

namespace subquad::kernels::cuda {

void factor_mlp_plain(const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& out);

void factor_mlp_plain_dx(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& dx);

// Chunks of rows that have a set of gradients each.
RowChunks factor_mlp_plain_chunks(const Tensor& x, const FactorMlp& mlp);
// sets: [chunks, GradSet::size]; what lies between the gradients of a set is not written.
void factor_mlp_plain_grads(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Mask& mask, Tensor& sets);

}  // namespace subquad::kernels::cuda
