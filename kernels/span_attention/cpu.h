// The CPU kernels behind span_attention.h. Arguments are checked, every last stride is 1, options.scale is set; there
// is a span at least. dq is written; dk and dv are, too, or with `adds` added to.
#pragma once

#include "subquad/kernels/span_attention/span_attention.h"

namespace subquad::kernels::cpu {

void span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans, const Mask& mask,
                    const SpanAttentionOptions& options, SpanAttentionOutput& result);
void span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                         const Tensor& out, const Mask& mask, const SpanAttentionOptions& options, bool adds,
                         SpanAttentionGrads& grads);

}  // namespace subquad::kernels::cpu
