// Attention of float32 tensors whose heads are at most 128 wide, on tensor cores: computes in precision().
#pragma once

#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels::cuda {

inline constexpr Index kMaxTensorCoreWidth = 128;

void attention_tensor_core(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                           const AttentionOptions& options, AttentionOutput& result);

// dlse may be undefined.
void attention_grad_tensor_core(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                const Tensor& v, const AttentionOutput& forward, const Mask& keys,
                                const AttentionOptions& options, AttentionGrads& grads);

}  // namespace subquad::kernels::cuda
