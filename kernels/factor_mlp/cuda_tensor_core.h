// factor_mlp of float32 tensors with at most 128 inputs and outputs, on tensor cores: computes in precision(). The
// contracts of cuda_plain.h; `turned` is the first layers [M, H, I].
#pragma once

#include "subquad/kernels/factor_mlp/cuda_sizes.h"

namespace subquad::kernels::cuda {

bool fits_tensor_cores(const Tensor& x, const FactorMlp& mlp);

void factor_mlp_tensor_core(const Tensor& x, const FactorMlp& mlp, const Tensor& turned, const Mask& mask, Tensor& out);

void factor_mlp_tensor_core_dx(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Tensor& turned,
                               const Mask& mask, Tensor& dx);

RowChunks factor_mlp_tensor_core_chunks(const Tensor& x, const FactorMlp& mlp);
void factor_mlp_tensor_core_grads(const Tensor& dout, const Tensor& x, const FactorMlp& mlp, const Tensor& turned,
                                  const Mask& mask, Tensor& sets);

}  // namespace subquad::kernels::cuda
