// The CPU kernels of circular.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"
#include "subquad/kernels/circular/circular.h"

namespace subquad::kernels::cpu {

// Puts the spectra where there is room for them.
void circular(const Tensor& a, const Tensor& b, const Mask& mask, bool correlate, const CyclicSpectra& keep,
              Tensor& out);
void circular_grad(const Tensor& dout, const Tensor& a, const Tensor& b, const Mask& mask, bool correlate,
                   const CyclicSpectra& spectra, CircularGrads& grads);

}  // namespace subquad::kernels::cpu
