// The FFT of the GPU for lines that no block can hold: cuFFT. No CUDA header is needed to include this one.
//
// Plans are made at first use and kept, the 16 of a device used last; all share one work area, as large as the largest
// of them needs. Making a plan asks the driver for memory, so the first transform of a kind and shape must not fall
// into a recording: Error. What a recording uses is never given back, since its graph may be replayed at any time.
#pragma once

#include "subquad/core/dtype.h"
#include "subquad/core/shape.h"

namespace subquad::kernels::cuda {

enum class LineTransformKind {
  forward,         // complex, sums with e^(-...)
  backward,        // complex, sums with e^(+...)
  real,            // n real numbers -> n / 2 + 1 complex ones
  real_from_half,  // and back, times n; what it reads is destroyed
};

struct CufftLines {
  DType dtype = kFloat32;             // of the real parts: float32 or float64
  Index outer = 1, n = 1, inner = 1;  // tensors [outer, n, inner], transformed along n; none is 0
};

inline constexpr int kCufftPlans = 16;

// Not normalised, in the current stream of the current device. `in` and `out` are contiguous and lie on multiples of a
// complex number; complex transforms may have in == out, of real ones n is even. DeviceError naming the call and the
// status when it is refused.
void cufft(LineTransformKind kind, const CufftLines& lines, const void* in, void* out);

}  // namespace subquad::kernels::cuda
