// Combiner's logsparse pattern in one kernel: the summaries of aligned blocks of 2, 4, 8, ... tokens and the attention
// to them, which three kernels make elsewhere (span_pool, span_attention, block_attention), with the same equations:
//
//   q_S, k_S = maxima of q and k over the real tokens of block S, v_S = sum_j softmax_j(scale q_S . k[j]) v[j]
//   out[i] = sum_e softmax_e(scale q[i] . key[e]) value[e]
//   lse[i] = ln sum_e exp(scale q[i] . key[e])
//
// over the entries e that query i sees: itself, its neighbour i XOR 1 [if i is odd], and of each level l = 1, 2, ...
// the block beside its own, (i >> l) XOR 1 [if bit l of i is 1]; in brackets where `causal`. scale = 1 / sqrt(E).
//
//   q, k [B, H, N, E]   v [B, H, N, C]   out [B, H, N, C]   lse [B, H, N]   mask [B, N], undefined = all are real
//
// Padded tokens are seen by nobody, a block only if it holds a real token; a padded query has out 0, lse -inf, and
// gives no gradient. float32 or float64, any strides (copied where the last is not 1); out and gradients lie in memory
// as [B, N, H, E]. On the CPU alone.
//
// Lane r of a vector stands for the r-th part of the sequence up to its last real token, rounded up to a power of two,
// so that neighbouring blocks of all levels but the last four (of 16 lanes) stand in the same lane and nothing moves
// across. Deterministic: a head is one task, the same bits for any number of threads, padding and batch; fewer heads
// than threads leave threads idle. Work: 2 (E + C) flops for each token and level, and for each token and entry,
// forward, 2 (3 E + 2 C) backward, for a power of two of tokens, 128 at least. Reads q, k, v once and writes out once,
// backward likewise; in between, all that belongs to a head goes through the caches some five times. Memory, N
// rounded up to a power of two, 128 at least (of 16 lanes): per thread 2 N rows of q, k and v (backward: twice that, and
// N of dout), and for backward B H N rows of v_S and 4 B H N numbers. These are in an order of the SIMD target's own.
// Source: Ren et al. 2021 (Combiner), section 3.3; nn/attention/combiner.h.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct LevelAttentionOutput {
  Tensor out;        // [B, H, N, C]
  Tensor lse;        // [B, H, N]
  Tensor summaries;  // v_S and their softmaxes, as the kernel has them: for backward
};
LevelAttentionOutput level_attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal,
                                     const Mask& mask = {});

// Gradients of sum(out * dout) + sum(lse * dlse); dlse may be undefined. `summaries` are level_attention's for the same
// arguments. Of equal maxima the first one gets the gradient.
struct LevelAttentionGrads {
  Tensor dq, dk, dv;
};
LevelAttentionGrads level_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const Tensor& summaries, bool causal, const Mask& mask = {});

}  // namespace subquad::kernels
