// Sparse N x N factors that are never stored, only their L weights per row, times values; alone, and as a chain of M.
//
//   chord_matmul   out[b, i] = sum_k weights[b, i, k] values[b, col(i, k)] + (residual: values[b, i])
//   chord_chain    V_0 = values,  V_m = W_m V_{m-1} + R_m,  out = V_M      m = 1 ... M
//                  R_m = V_{m-1} (running), V_0 (fixed) or 0 (none)
//
//   weights [B, N, L] or [N, L], shared by all samples; a chain's [M, B, N, L] or [M, N, L]
//   values, out [B, N, D]; col(i, k) as links.h says, the chain has one Links of the same count for each factor
//
// float32 or float64, one dtype, contiguous, one device; L >= 1 and M >= 1, any other extent may be 0. Columns that
// coincide add up, those that drop out count for nothing: their weights are not used and get gradient 0.
//
// With a mask sample b has the n_b positions of its prefix: columns are taken among n_b, rows beyond are 0, and what
// stands there, weights or values, is not read and gets gradient 0. A sample's results do not depend on N or on the
// rest of the batch. A mask with holes is an Error (kernels/compact moves the real positions to the front).
//
//   dweights[b, i, k] = sum_d dout[b, i, d] values[b, col(i, k), d]          shared weights: summed over b
//   dvalues[b, j] = sum_k weights[b, row(j, k), k] dout[b, row(j, k)] + (residual: dout[b, j]),  col(row(j, k), k) = j
//
// Deterministic: every element has one writer and one order of summation. Work per factor: 2 B N L D flops forward, 4 B
// N L D backward. Memory: forward reads weights and values and writes V_m, B N (L + 2 D) numbers per factor; backward
// holds two [N, D] beside its results for every thread. On the CPU what is kept is written past the caches from 32 MiB
// on; forward then holds one [N, D] more for every thread.
//
// On CUDA, N <= 2^30. A chain is one launch where four columns of a sample fit into shared memory twice (float32: some
// 7,000 positions on an H100) and M L <= 256, else one launch per factor. The first kind holds the weights once more, in another
// order that one more launch makes, and backward the gradients of all V_m; backward of the second kind is 2 M launches
// and holds two [B, N, D].
// Source: Yu et al. 2022 (Paramixer).
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"
#include "subquad/kernels/chord_matmul/links.h"

namespace subquad::kernels {

Tensor chord_matmul(const Tensor& weights, const Tensor& values, const Links& links, const Mask& mask = {},
                    bool residual = false);

// The factor of the classical butterfly: chord_matmul with butterfly_links(distance).
//
//   out[b, i] = weights[b, i, 0] values[b, i] + weights[b, i, 1] values[b, i XOR distance]
Tensor butterfly_matmul(const Tensor& weights, const Tensor& values, Index distance, const Mask& mask = {});

struct ChordGrads {
  Tensor dweights;  // shaped like weights
  Tensor dvalues;   // [B, N, D]
};
ChordGrads chord_matmul_grad(const Tensor& dout, const Tensor& weights, const Tensor& values, const Links& links,
                             const Mask& mask = {}, bool residual = false);

struct ChordChain {
  Tensor out;   // [B, N, D], V_M
  Tensor kept;  // [M - 1, B, N, D], V_1 ... V_{M-1}, 0 at padding; undefined unless asked for
};
ChordChain chord_chain(const Tensor& weights, const Tensor& values, const std::vector<Links>& links,
                       MixResidual residual, const Mask& mask = {}, bool keep = false);

// `kept` as the forward gave it.
ChordGrads chord_chain_grad(const Tensor& dout, const Tensor& weights, const Tensor& values, const Tensor& kept,
                            const std::vector<Links>& links, MixResidual residual, const Mask& mask = {});

}  // namespace subquad::kernels
