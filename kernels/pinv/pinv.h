// Moore-Penrose pseudo-inverse of small square matrices by a fixed number of steps of third order.
//
//   Z_0 = c A^T      Z_{t+1} = 1/4 Z_t (13 I - X (15 I - X (7 I - X)))  with X = A Z_t,  t = 0 ... T - 1      out = Z_T
//
//   a [..., M, M]   out, da [..., M, M]   steps [T, ..., M, M] = Z_0 ... Z_{T-1}; contiguous, float32 or float64
//   factors [T, 3, ..., M, M], on the CPU: -X, 15 I - X (7 I - X), and what 1/4 Z_t is multiplied by
//
// The coefficient c of the start decides what converges. With |A|_1 the largest column sum and |A|_inf the largest row
// sum of |A_ij|,
//
//   exact      c = 1 / |A|_1 of each matrix      original      c = 1 / max |A|_1 over all matrices
//   product    c = 1 / (max |A|_1 max |A|_inf) over all matrices
//
// exact and original are for matrices whose rows sum to 1 (|A|_inf = 1), such as a softmax's; product takes any. With
// original and product a matrix's result depends on the others it comes with. A zero matrix has c = 0 and result 0.
//
// T is part of the definition, not a matter of precision: A's singular values s become p^T(c s^2) / s with
// p(x) = x (13 - 15 x + 7 x^2 - x^3) / 4, which inverts the large ones and damps those where c s^2 is below about
// 3.25^-T. Steps beyond that amplify the rounding errors of a singular matrix, 3.25 times each.
//
// On CUDA float32 is multiplied as three TF32 products whatever precision() is, since rounding errors grow so; matrices
// of up to 128 rows (64 in backward) take one launch, in which a block owns a matrix, others cuBLAS and 6 launches a
// step (15 in backward); starts other than exact take one more, in backward two. Matrices of more than 64 rows need 200
// KiB of shared memory for that one launch; where a block has less they go the way of the others, with other bits.
//
// Deterministic: one thread (on CUDA one block) works on a matrix. Work: 8 M^3 flops per step forward, 16 M^3 backward;
// on CUDA 22 M^3, as it makes the factors again, which a CPU reads sooner than it multiplies. Memory: a matrix per
// thread beside the results, seven in backward; where cuBLAS multiplies, three and nine per matrix.
// Source: Xiong et al. 2021, the iteration as corrected; starts as in the official code (product: before March 2021).
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class PinvStart { exact, original, product };

struct PinvOptions {
  int iterations = 6;  // T >= 1
  PinvStart start = PinvStart::exact;
  bool detach_coefficient = false;  // no gradient through c
};

struct PinvOutput {
  Tensor out;
  Tensor steps;
  Tensor factors;  // undefined on CUDA, and where they are not asked for
};
PinvOutput pinv(const Tensor& a, const PinvOptions& options = {}, bool for_backward = true);

// `forward` is what pinv returned for the same arguments, for backward; its `out` is not read. The maxima in c send their gradient to
// the first column (row) that attains them.
Tensor pinv_grad(const Tensor& dout, const Tensor& a, const PinvOutput& forward, const PinvOptions& options = {});

}  // namespace subquad::kernels
