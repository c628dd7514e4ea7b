// The CUDA kernels behind span_attention.h. Arguments are checked, every last stride is 1, options.scale is set;
// gradients are all written, dk and dv added to with `adds`.
#pragma once

#include "subquad/kernels/span_attention/span_attention.h"

namespace subquad::kernels::cuda {

void span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                    const SpanAttentionOptions& options, SpanAttentionOutput& result);
void span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                         const SpanAttentionOutput& forward, const Mask& mask, const SpanAttentionOptions& options,
                         bool adds, SpanAttentionGrads& grads);

}  // namespace subquad::kernels::cuda
