// CUDA kernels of fft.h: as in cpu.h, for tensors on a device.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cuda {

void fft(const Tensor& x, bool backward, double scale, Tensor& out);
void rfft(const Tensor& x, double scale, double inside, Tensor& out);
void irfft(const Tensor& x, double scale, double inside, Tensor& out);

}  // namespace subquad::kernels::cuda
