// CPU kernels of fft.h. Arguments are checked and outputs allocated by the caller; tensors are [outer, n, inner].
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

// out[k] = scale * sum_j x[j] e^(-+ 2 pi i j k / n): minus forward, plus backward; both complex.
void fft(const Tensor& x, bool backward, double scale, Tensor& out);

// Real to complex, [outer, n, inner] -> [outer, n / 2 + 1, inner]; `inside` multiplies all but k = 0 and 2 k = n, too.
void rfft(const Tensor& x, double scale, double inside, Tensor& out);

// The inverse times n: complex [outer, n / 2 + 1, inner] -> real [outer, n, inner], with X[n - k] = conj X[k] and the
// imaginary parts of X[0] and X[n / 2] taken for 0. `inside` as above, on X.
void irfft(const Tensor& x, double scale, double inside, Tensor& out);

}  // namespace subquad::kernels::cpu
