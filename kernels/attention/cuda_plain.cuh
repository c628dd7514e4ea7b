// Attention of any float dtype and head size in plain arithmetic.
#pragma once

#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels::cuda {

void attention_plain(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys,
                     const AttentionOptions& options, AttentionOutput& result);

// delta [B, H, Nq] as in attention.h, contiguous.
void attention_grad_plain(const Tensor& dout, const Tensor& delta, const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                          AttentionGrads& grads);

}  // namespace subquad::kernels::cuda
