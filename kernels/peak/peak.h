// The roof that products are measured against: what this machine multiplies and adds right now.
#pragma once

#include "subquad/core/dtype.h"

namespace subquad::kernels {

// Floating-point operations per second of one thread with the SIMD target in use: independent multiply-add chains in
// registers, the best of several runs of a few milliseconds.
double fma_peak(DType dtype);

}  // namespace subquad::kernels
