// The CPU kernels behind gathered_attention.h. Arguments are checked, every last stride is 1, options.scale is set.
#pragma once

#include "subquad/kernels/gathered_attention/gathered_attention.h"

namespace subquad::kernels::cpu {

// Error where an index that is read names no key.
void check_gathered_index(const char* op, const Tensor& index, const Mask& keys, Index key_count,
                          const GatheredAttentionOptions& options);

void gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index, const Tensor& bias,
                        const Mask& keys, const GatheredAttentionOptions& options, AttentionOutput& result);

void gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& index, const AttentionOutput& forward, const Tensor& bias, const Mask& keys,
                             const GatheredAttentionOptions& options, GatheredAttentionGrads& grads);

}  // namespace subquad::kernels::cpu
