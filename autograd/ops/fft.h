// Fourier transforms along one axis as differentiable ops; see kernels/fft/fft.h, also for what the gradient of a
// complex number is.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable fft(const Variable& x, int axis);             // complex -> complex
Variable ifft(const Variable& x, int axis);            // complex -> complex
Variable rfft(const Variable& x, int axis);            // real [.., n, ..] -> complex [.., n/2 + 1, ..]
Variable irfft(const Variable& x, Index n, int axis);  // complex [.., n/2 + 1, ..] -> real [.., n, ..]

// Complex [...] as real [..., 2], (re, im), and back: views, so that spectra can be worked on by ops of real numbers.
Variable complex_to_pairs(const Variable& x);
Variable pairs_to_complex(const Variable& x);

}  // namespace subquad
