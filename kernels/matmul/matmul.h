// Matrix products over the last two dimensions, batched over the ones before.
//
//   out[..., m, n] = sum_k a[..., m, k] * b[..., k, n]
//
//   a [..., M, K]   b [..., K, N]   out [..., M, N]; rank >= 2, one dtype (float32, float64), one device
//
// Batch dimensions broadcast as in NumPy, without copies. Each operand may be any view whose matrices are row-major or
// the transpose of row-major (slices of rows or columns, transpose(-2, -1)): they are read where they lie. An operand
// of any other layout is copied first. K = 0 gives zeros.
//
// CPU: the work is cut by shape into pieces, each of which one thread multiplies by itself with tiles of ours
// (tiled.h), or, where a few rows, columns or terms would waste them and with the scalar target, with a BLAS; where the
// output is small and K is long, K is cut too and the partial sums are added in order. CUDA: cuBLAS, or one kernel of
// ours where float32 matrices [B, H, M, N] have M, N, K <= 128, whose bits depend on no B or H; operands are used as
// precision() says (core/precision.h), sums are float32 always. Deterministic. Work: 2*M*N*K flops per matrix.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor matmul(const Tensor& a, const Tensor& b);

// out = alpha * a b + beta * out. `out` has the product's shape, its matrices are row-major (rows may have gaps), and
// it overlaps neither operand. It is not read when beta is 0.
void matmul_into(const Tensor& a, const Tensor& b, Tensor& out, double alpha = 1, double beta = 0);

}  // namespace subquad::kernels
