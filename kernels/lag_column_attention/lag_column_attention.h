// Softmax attention along chosen diagonals and columns of the matrix: FSAT's sparse attention (our reconstruction).
//
// With n the sample's length, query i < n sees, one slot each,
//
//   key (i + lag) mod n   for every chosen lag              s = scale * q[i] . k[key] + lag_score[lag]
//   key column            for every chosen column, unless   s = scale * q[i] . k[key] + col_score[column]
//                         (column - i) mod n is a chosen lag: so no key comes twice
//
//   lse[i] = ln sum exp(s)     p = exp(s - lse[i])     out[i] = sum p v[key]          per batch element and head
//
//   q, k [B, H, N, E]   v [B, H, N, Ev]   lags int64 [B, H, Kl]   columns int64 [B, H, Kc]
//   lag_score, col_score [B, H, N] or undefined
//   out [B, H, N, Ev], memory laid out as [B, N, H, Ev]   lse, lse_rest [B, H, N] as in kernels/attention
//
// Lags and columns are rising numbers 0 <= x < n, then -1 (as choose_top_k makes them): Error otherwise, naming the
// place. On CUDA, where to look would be to wait for the device, a number that is none of the sample's positions is
// left out, and one that comes twice leaves the gradients of its column and its scores undefined. One dtype (float32,
// float64); E >= 1, Ev >= 1, every other extent may be 0. q, k, v of any strides (copied where the last one is not 1);
// lags, columns and scores contiguous. `mask` gives the lengths (all N without one) and must be a prefix mask. Rows
// from n on are not read and are 0 (lse -inf), and so is every row where nothing is chosen; they give no gradient. No
// bit of a sample depends on N, on other samples or on the number of threads.
//
// Dropout (probability > 0) zeroes some p in `out` and scales the others by 1 / (1 - probability), and leaves lse as it
// is: out[i] = sum r p v[key]. Query i's r is of word(sample, position 2 lag H + h, feature i) of core/rng.h for a lag,
// of position (2 column + 1) H + h for a column: it depends on nothing else that is chosen, nor on any slot's number.
//
// No N x K array exists, in forward or backward. Work, with K = Kl + Kc: 2 N K (E + Ev) flops per head forward, 2 N K
// (3 E + 2 Ev) backward, and N K exponentials each. Memory: k and v once more, in backward q and dout, their gradients,
// and p and ds of sixteen lags, too, and Kc rows for every 512 positions; on CPUs of the heads at work alone, one per
// thread. On CUDA one launch forward and three backward, where products are made twice, 2 N K (E + Ev) flops more, for
// queries and for keys (or columns), so that each adds up its own gradient: eight lanes have a query (or a key, or a
// column), neighbours of which read neighbouring rows along a lag: N Kl (E + Ev) sizeof T bytes from the second-level
// cache per head, twice in backward, take most of the time. Memory there: Kl + Kc numbers for every 32 positions and Kc
// rows for every 256. Sums are in the tensors' own dtype. In Precision::bf16 q, k, v and dout of float32 heads up to 64
// wide (divisible by 4) are rounded to bfloat16 first, in one launch more, which halves those bytes; other precisions
// change nothing.
// Source: our reconstruction of FSAT, nn/attention/fsat.h.
#pragma once

#include "subquad/core/rng.h"
#include "subquad/kernels/attention/attention.h"

namespace subquad::kernels {

struct LagColumns {
  Tensor lags;     // int64 [B, H, Kl]
  Tensor columns;  // int64 [B, H, Kc]
};

// Added to the logits; an undefined one adds nothing.
struct LagColumnScores {
  Tensor lag;  // [B, H, N]
  Tensor col;  // [B, H, N]
};

struct LagColumnOptions {
  double scale = 0;    // 0 = 1 / sqrt(E)
  double dropout = 0;  // on p
  RandomState random = {};
};

AttentionOutput lag_column_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                                     const LagColumnScores& scores = {}, const Mask& mask = {},
                                     const LagColumnOptions& options = {});

// Gradients of sum(out * dout) + sum(lse * dlse); dlse may be undefined. `forward` is what lag_column_attention
// returned for the same arguments on the same SIMD target.
//
//   delta[i] = sum_c dout[i, c] out[i, c] - dlse[i]      ds = p (r sum_c dout[i, c] v[key, c] - delta[i])
//   dq[i] = scale sum ds k[key]     dk[key] += scale ds q[i]     dv[key] += r p dout[i]     r = 1 without dropout
//   dlag_score[lag] = sum_i ds at the slots of the lag           dcol_score[column] likewise; 0 where nothing is chosen
//
// The scores' gradients are the same with and without scores in the logits (both modes of FSAT:
// autograd/ops/lag_column_attention.h).
struct LagColumnGrads {
  Tensor dq, dk, dv;              // shaped like q, k, v; memory as in kernels/attention
  Tensor dlag_score, dcol_score;  // [B, H, N]
};
LagColumnGrads lag_column_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                         const Tensor& v, const LagColumns& chosen, const AttentionOutput& forward,
                                         const LagColumnScores& scores = {}, const Mask& mask = {},
                                         const LagColumnOptions& options = {});

}  // namespace subquad::kernels
