// What cuda.h says, for lines that no block can hold, by cuFFT (kernels/cufft).
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void long_fft(const Tensor& x, bool backward, double scale, Tensor& out);
void long_rfft(const Tensor& x, double scale, double inside, Tensor& out);
void long_irfft(const Tensor& x, double scale, double inside, Tensor& out);

}  // namespace subquad::kernels::cuda
