// Our own matrix product, for skinny and small ones and for large ones. It depends on no BLAS: a user whose OpenBLAS
// took slow kernels (Prescott, or Haswell on an AVX-512 processor) multiplies at full speed all the same.
#pragma once

#include "subquad/kernels/blas/matrix.h"

namespace subquad::kernels::cpu {

// c [m, n] = alpha * a [m, k] * b [k, n] + beta * c, or + bias [n] in every row when there is one (beta is then not
// used). On the calling thread; c is not transposed, overlaps no operand and is not read when beta is 0. m, n, k >= 1.
//
// A tile of c stays in registers over a run of terms; alpha, beta and bias join while it is written.
//
// Skinny and small: tiles of 8 rows x 2 vectors of columns (6 with AVX2) over 256 terms. For each run of terms and 2
// vectors of columns, b is packed into a panel of 32 KiB that stays in L1 (or read where it lies, for few rows), and a
// is read where it lies: a term costs 2 loads of b and 8 broadcasts of a for 16 multiply-adds, so that the multipliers
// are the bound. Bytes: a from L2 once for each panel, c read and written once for each 256 terms.
//
// Large (is_large_product, from 65 rows on): both factors are packed block by block. Tiles of 14 rows x 2 vectors (6
// with AVX2) over up to 512 terms: 14 x 512 of a, 28 KiB, in L1 against 512 x 16 vectors of b, 512 KiB, in L2: a term
// costs 2 loads and 14 broadcasts for 28 multiply-adds, and asks ahead for what comes from L2 and L3. Bytes: b is
// packed once for each 1036 rows, a once for each 512 terms, c read and written once for each 512 terms. Memory: 2.6
// MiB. pack-inl.h has the sizes.
//
// Deterministic: an element is one chain of multiply-adds over each run of terms, wherever in c it stands.
void tiled_product(Index m, Index n, Index k, float alpha, Matrix<const float> a, Matrix<const float> b,
                   const float* bias, float beta, Matrix<float> c);
void tiled_product(Index m, Index n, Index k, double alpha, Matrix<const double> a, Matrix<const double> b,
                   const double* bias, double beta, Matrix<double> c);

// Whether tiled_product packs both factors where there are rows enough: n and k are at least 512, b has a million
// numbers. Below that a packed left factor did not pay on a Zen 5: 384 x 256 x 256 ran at 0.97 of the FMA peak without
// and at 0.91 with it, 512 x 512 x 2048 at 0.87 and 0.88.
constexpr bool is_large_product(Index n, Index k) {
  return n >= 512 && k >= 512 && n * k >= Index{1} << 20;
}

// Whether it is mostly faster than OpenBLAS 0.3.21 for such a product. Of 1,800 shapes (m <= 256, n <= 512, k <= 1024,
// each operand transposed or not) on a Zen 5, those taken here were mostly 1.0 to 1.8 times as fast as with OpenBLAS'
// AVX-512 kernels; 0.6 where both are transposed and small, 0.4 to 0.8 at n = 512 and k = 8 to 16. Of 50 shapes with
// AVX2 most were 1.0 to 1.2 times as fast, 32 x 1024 x 64 0.7. 400 x 64 x 64 ran at 0.95 of the FMA peak. Of 160 shapes
// with n, k >= 256 nearly all were 1.0 to 1.3 times as fast, those of 4 to 32 rows 1.3 to 2; cubes of 512 to 2048
// 0.97 to 1.03, with AVX2 the same, in float64 1.13. A few columns waste its lanes; packing a transposed b for a few
// rows costs more than their product. The scalar target leaves everything to the BLAS.
bool tiled_product_wins(Index m, Index n, Index k, bool b_transposed);

}  // namespace subquad::kernels::cpu
