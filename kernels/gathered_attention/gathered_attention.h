// Softmax attention of each query to the keys that an index names, any keys for any query.
//
//   s[i, t] = scale * sum_e q[i, e] k[index[i, t], e] + bias[i, t]     for the live slots t of query i
//   lse[i] = ln sum_t exp(s[i, t])                                      p[i, t] = exp(s[i, t] - lse[i])
//   out[i, c] = sum_t p[i, t] v[index[i, t], c]                         per batch element and head
//
//   q [B, H, Nq, E]   k [B, H, Nk, E]   v [B, H, Nk, Ev]   index int64 [B, H, Nq, K]   bias [B, H, Nq, K] or undefined
//   out [B, H, Nq, Ev], memory laid out as [B, Nq, H, Ev]   lse, lse_rest [B, H, Nq] as in kernels/attention
//
// One dtype (float32, float64) but for the index; E >= 1, Ev >= 1, every other extent may be 0. q, k, v of any strides
// (copied where the last one is not 1); index and bias contiguous, bias finite. A slot is live if its index is not -1
// and its key is real (mask `keys` [B, Nk]; undefined = all are). The order of slots matters to rounding only; a key
// that two slots name counts twice. A query without a live slot has out 0, lse -inf, and gives no gradient to anything.
// With Nq == Nk and a mask, queries at padded positions are by default such queries (skip_padded_queries): nothing of
// theirs is read, the index neither. An index below -1 or beyond Nk - 1 that is read is an Error that names its place;
// on CUDA, where to look would be to wait for the device, it is an empty slot.
//
// Deterministic: one writer per element, the same bits for any number of threads. Work: 2 Nq K (E + Ev) flops per head
// forward, 2 Nq K (3 E + 2 Ev) backward, plus Nq K exponentials each; a row of k and of v per slot, and in backward
// again one of q and of dout, for the key that adds up its own dk and dv, from the second-level cache or beyond take
// most of the time. On CPUs rows are read where they stand if E and Ev are whole vectors, else copied once; memory in
// backward: the index by keys, p and ds, 8 + 2 sizeof T bytes for each of Nq K slots of the heads at work, one per
// thread. On CUDA eight lanes have a query and a warp a key, and products are made again for dk and dv, 2 Nq K (4 E + 3
// Ev) flops; the index by keys is made there by a radix sort, 40 Nq K bytes per head while it lasts, 8 after it; a key
// that more than 512 slots have is shared by as many warps as it has 512 of them, which leaves two rows of sums for
// every 512 slots; sums of products are in the tensors' own dtype, whatever precision() is.
// Source: Vaswani et al. 2017, equation 1, over the keys of the index.
#pragma once

#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels {

struct GatheredAttentionOptions {
  double scale = 0;  // 0 = 1 / sqrt(E)
  bool skip_padded_queries = true;
};

AttentionOutput gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& index,
                                   const Tensor& bias = {}, const Mask& keys = {},
                                   const GatheredAttentionOptions& options = {});

// Gradients of sum(out * dout) + sum(lse * dlse); dlse may be undefined. `forward` is what gathered_attention returned
// for the same arguments on the same SIMD target.
//
//   delta[i] = sum_c dout[i, c] out[i, c] - dlse[i]
//   ds[i, t] = p[i, t] (sum_c dout[i, c] v[index[i, t], c] - delta[i]), 0 where a slot is not live
//   dq[i] = scale sum_t ds[i, t] k[index[i, t]]    dk[j] = scale sum ds[i, t] q[i]    dv[j] = sum p[i, t] dout[i]
//                                                  over all (i, t) with index[i, t] == j, in a fixed order
//   dbias[i, t] = ds[i, t]
struct GatheredAttentionGrads {
  Tensor dq, dk, dv;  // shaped like q, k, v; memory laid out as [B, N, H, E]
  Tensor dbias;       // [B, H, Nq, K]; undefined without a bias
};
GatheredAttentionGrads gathered_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                               const Tensor& v, const Tensor& index, const AttentionOutput& forward,
                                               const Tensor& bias = {}, const Mask& keys = {},
                                               const GatheredAttentionOptions& options = {});

}  // namespace subquad::kernels
