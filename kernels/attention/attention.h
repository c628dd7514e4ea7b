// Exact softmax attention of any rectangle of queries and keys, fused: logits and weights never exist as an array.
//
//   s[i, j] = scale * sum_e q[i, e] k[j, e]            for the keys j that query i sees
//   lse[i] = ln sum_j exp(s[i, j])                      p[i, j] = exp(s[i, j] - lse[i])
//   out[i, c] = sum_j p[i, j] v[j, c]                   per batch element and head
//
//   q [B, H, Nq, E]   k [B, H, Nk, E]   v [B, H, Nk, Ev]   out [B, H, Nq, Ev]   lse [B, H, Nq]
//
// One dtype (float32, float64), one device; E >= 1, Ev >= 1, every other extent may be 0. Any strides: where the last
// one is not 1 the tensor is copied first. The memory of `out` is laid out as [B, Nq, H, Ev], so that merging heads is
// a view.
//
// Query i sees key j if j is real (mask `keys` [B, Nk]; undefined = all are) and, with `causal`, j <= i + (Nk - Nq):
// the last query sees every key. Padded keys are skipped, not masked: they cost no work, and whatever stands there
// (also NaN), how many there are and what else is in the batch cannot change one bit of the result. Causal attention
// skips blocks above the diagonal. A query that sees no key has out 0, lse -inf, and gives no gradient to anything.
// Queries that `options.queries` [B, Nq] leaves out are such queries, too: their q, and in backward their dout, are not
// read. With Nq == Nk and none given they are by default those at padded keys (skip_padded_queries): self-attention
// then costs n^2 for the n real positions of a sample.
//
// Accuracy: logits are rounded like any sum of E products; the softmax of them adds a few roundings of p, however large
// they are. `lse` alone would not do for that, since it is rounded at its own size: `lse_rest` is what it lost.
//
// On CUDA float32 heads up to 128 wide are multiplied in precision(): fp32 as three TF32 products, so that operands are
// exact but for 2^-22 of them; tf32 and bf16 round the operands (p and ds among them), not the sums, the softmax or
// lse. There, 32 neighbouring keys are skipped where none is real and masked where some are: padding between real keys
// costs work and may move roundings, padding behind them does neither. Long and thin rectangles: cuda_sections.cuh.
//
// Deterministic: the same bits for any number of threads. Work: 2 Nq Nk (E + Ev) flops per head forward, 2 Nq Nk (3 E +
// 2 Ev) backward, plus Nq Nk exponentials each. Memory: the head's keys, values and queries once more per thread
// (beside up to 128 queries, without padding in between, keys and values are read where they lie: forward up to 4096 of
// them, backward where they are twice as many as the queries, which sums their gradients apart), on CUDA one number per query in backward; nothing quadratic. Source: Vaswani et al. 2017, equation
// 1; online softmax: Milakov and Gimelshein 2018; recomputation in backward: Dao et al. 2022 (FlashAttention),
// algorithms 1 and 4.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct AttentionOptions {
  bool causal = false;
  double scale = 0;  // 0 = 1 / sqrt(E)
  bool skip_padded_queries = true;
  Mask queries = {};  // undefined: see skip_padded_queries
};

struct AttentionOutput {
  Tensor out;       // [B, H, Nq, Ev]
  Tensor lse;       // [B, H, Nq]
  Tensor lse_rest;  // [B, H, Nq], ln sum_j exp(s[i, j]) - lse[i] for the rounded lse; 0 where a query sees no key
};
AttentionOutput attention(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& keys = {},
                          const AttentionOptions& options = {});

// Gradients of sum(out * dout) + sum(lse * dlse); dlse may be undefined. `forward` is what attention returned for the
// same arguments (on the same SIMD target and in the same precision: the logits are computed again to the same bits).
// At positions that were skipped, dout, dlse and `forward` are not read and gradients are 0.
//
//   delta[i] = sum_c dout[i, c] out[i, c] - dlse[i]     ds[i, j] = p[i, j] (sum_c dout[i, c] v[j, c] - delta[i])
//   dq[i] = scale sum_j ds[i, j] k[j]                   dk[j] = scale sum_i ds[i, j] q[i]
//   dv[j] = sum_i p[i, j] dout[i]
struct AttentionGrads {
  Tensor dq, dk, dv;  // shaped like q, k, v; memory as empty_head_grads (arguments.h) lays it out
};
AttentionGrads attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                              const AttentionOutput& forward, const Mask& keys = {},
                              const AttentionOptions& options = {});

}  // namespace subquad::kernels
