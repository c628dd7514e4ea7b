// Products of which some samples get something else.
//
//   out[b, h] = none[b] ? x[b, h] : a[b, h] y[b, h]
//
//   a [B, H, M, M]   y, x, out [B, H, M, C]   none bool [B], contiguous
//
// float32 or float64, any strides, one device. What is not chosen may be anything, NaN too.
//
// Deterministic. Work: a matmul. On CUDA one launch, and one for all gradients, where float32 matrices have
// M, C <= 128: those are multiplied in float32 itself, whatever precision() is, and their bits depend on no B or H.
// Elsewhere matmul and where.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor matmul_or(const Tensor& a, const Tensor& y, const Tensor& x, const Tensor& none);

// da = dout y^T and dy = a^T dout, 0 in samples that got x; dx = dout there, else 0.
struct MatmulOrGrads {
  Tensor da, dy, dx;
};
MatmulOrGrads matmul_or_grad(const Tensor& dout, const Tensor& a, const Tensor& y, const Tensor& none);

}  // namespace subquad::kernels
