// The CUDA kernels behind attention.h. Arguments are checked, every last stride is 1, options.scale is set.
#pragma once

#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels::cuda {

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys, const AttentionOptions& options,
               AttentionOutput& result);

void attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                    const AttentionOutput& forward, const Mask& keys, const AttentionOptions& options,
                    AttentionGrads& grads);

}  // namespace subquad::kernels::cuda
