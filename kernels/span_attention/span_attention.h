// Local expectations: each span of positions has one query, which attends to the span's own tokens.
//
//   s[s, j] = scale * q[s] . k[j]     for the real positions j of span s     lse[s] = ln sum_j exp(s[s, j])
//   out[s] = sum_j exp(s[s, j] - lse[s]) v[j]                                per batch element and head
//
//   q [B, H, S, E]   k [B, H, N, E]   v [B, H, N, C]   spans [1 or B, S, 2] (kernels/spans), which may overlap
//   out [B, H, S, C]   lse [B, H, S]                   mask [B, N], undefined = every position is real
//
// A span without a real position has out 0, lse -inf, and gives no gradient. Padded positions are not read and get
// gradient 0. float32 or float64, one device, any strides (copied where the last is not 1); out and gradients lie in
// memory as [B, N, H, E].
//
// Dropout (probability > 0) zeroes weights after the softmax and scales the others by 1 / (1 - probability). Bits:
// word(sample, position (begin + end) H + h, feature j) of core/rng.h; begin + end tells aligned blocks of all levels
// apart, whatever the padding.
//
// Deterministic: a span is summed in the order of its positions (on CUDA in 4 shares, or, of a span of more than 256,
// in 16, cut by position and added in order; the spans of level_spans of more than 1024 in pieces of 1024, by several
// blocks), and a position adds up what its spans give it in the order of the table. Work: 2 (E + C) flops per position
// of each span forward, 2 (3 E + 2 C) backward; on CUDA for more than 64 columns the logits are made once for each 64.
// float32 sums are float32 sums in any precision(). Memory: one span's weights per thread, on CUDA a number per span in
// backward, and a result for each piece. Source: Ren et al. 2021 (Combiner), the local
// expectation.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/rng.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct SpanAttentionOptions {
  double scale = 0;  // 0 = 1 / sqrt(E)
  double dropout = 0;
  RandomState random = {};
};

struct SpanAttentionOutput {
  Tensor out;       // [B, H, S, C]
  Tensor lse;       // [B, H, S]
  Tensor lse_rest;  // [B, H, S], what lse lost by rounding; on CUDA alone, for backward
};
SpanAttentionOutput span_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& spans,
                                   const Mask& mask = {}, const SpanAttentionOptions& options = {});

// Gradients of sum(out * dout), with `forward` as span_attention returned it for the same arguments and p = exp(s -
// lse) made anew from q and k (on the CPU lse, too):
//
//   ds[s, j] = p[s, j] (dout[s] . v[j] - dout[s] . out[s])     dq[s] = scale sum_j ds[s, j] k[j]
//   dk[j] = scale sum_s ds[s, j] q[s]                          dv[j] = sum_s p[s, j] dout[s]
struct SpanAttentionGrads {
  Tensor dq, dk, dv;
};
SpanAttentionGrads span_attention_grad(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const Tensor& spans, const SpanAttentionOutput& forward, const Mask& mask = {},
                                       const SpanAttentionOptions& options = {});

// The same with dk and dv added to what stands there: [B, H, N, .] with any strides (last 1), nobody else's memory.
// Returns dq.
Tensor span_attention_add_grads(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                const Tensor& spans, const SpanAttentionOutput& forward, Tensor& dk, Tensor& dv,
                                const Mask& mask = {}, const SpanAttentionOptions& options = {});

// The work named above, for q [B, H, S, E] and v [B, H, N, C]; 0 where the table is on a GPU.
Flops span_attention_work(const Shape& q, const Shape& v, const Tensor& spans);
Flops span_attention_grad_work(const Shape& q, const Shape& v, const Tensor& spans);

}  // namespace subquad::kernels
