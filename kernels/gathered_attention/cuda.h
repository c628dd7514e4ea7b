// The CUDA kernels behind gathered_attention.h. Arguments are checked, every last stride is 1, options.scale is set;
// what the index holds is not checked.
#pragma once

#include "subquad/kernels/gathered_attention/gathered_attention.h"

namespace subquad::kernels::cuda {

void gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index, const Tensor& bias,
                        const Mask& keys, const GatheredAttentionOptions& options, AttentionOutput& result);

void gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& index, const AttentionOutput& forward, const Tensor& bias, const Mask& keys,
                             const GatheredAttentionOptions& options, GatheredAttentionGrads& grads);

}  // namespace subquad::kernels::cuda
