// Our own matrix product. A BLAS packs both factors, which skinny and small products do not repay; here the left one is
// read where it lies.
#pragma once

#include "subquad/kernels/blas/matrix.h"

namespace subquad::kernels::cpu {

// c [m, n] = alpha * a [m, k] * b [k, n] + beta * c, or + bias [n] in every row when there is one (beta is then not
// used). On the calling thread; c is not transposed, overlaps no operand and is not read when beta is 0. m, n, k >= 1.
//
// For each 256 terms and 2 vectors of columns, b is packed into a panel of 32 KiB that stays in L1 (or read where it
// lies, for few rows). Tiles of 8 rows x 2 vectors (6 with AVX2) of c stay in registers over those terms: a term costs
// 2 loads of b and 8 broadcasts of a for 16 multiply-adds, so that the multipliers are the bound. Bytes: a from L2 once
// for each panel, c read and written once for each 256 terms; alpha, beta and bias join while a tile is written.
// Deterministic: an element is one chain of multiply-adds over each 256 terms, however m and n are cut.
void tiled_product(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b,
                   const float* bias, float beta, Matrix<float> c);
void tiled_product(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b,
                   const double* bias, double beta, Matrix<double> c);

// Whether it is mostly faster than OpenBLAS 0.3.21 for such a product. Of 1,800 shapes (m <= 256, n <= 512, k <= 1024,
// each operand transposed or not) on a Zen 5, those taken here were mostly 1.0 to 1.8 times as fast as with OpenBLAS'
// AVX-512 kernels; 0.6 where both are transposed and small, 0.4 to 0.8 at n = 512 and k = 8 to 16. Of 50 shapes with AVX2
// most were 1.0 to 1.2 times as fast, 32 x 1024 x 64 0.7. 400 x 64 x 64 ran at 0.95 of the FMA peak. A few columns
// waste its lanes; packing a transposed b for a few rows costs more than their product; with k and n above 512 a BLAS
// packs both factors to good effect. The scalar target leaves everything to the BLAS.
bool tiled_product_wins(Index m, Index n, Index k, bool b_transposed);

}  // namespace subquad::kernels::cpu
