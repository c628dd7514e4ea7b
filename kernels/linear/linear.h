// The affine map of the last dimension.
//
//   out[..., o] = sum_i x[..., i] * weight[i, o] + bias[o]
//
//   x [..., I], rank >= 1   weight [I, O]   bias [O], or undefined for none   out [..., O]
//   one dtype (float32, float64), one device
//
// On CUDA with Precision::bf16 x and weight may be what product_operands (operands.h) made of them.
// weight may be row-major or the transpose of row-major; x of rank 2 likewise, of any other rank it is copied when it
// is not contiguous; bias is contiguous. Deterministic. The bias stands in out before the product is added to it: on
// the CPU piece by piece, so that it adds no pass, on CUDA written by a kernel of its own. Work: 2*rows*I*O flops.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

// dweight[i, o] = sum over rows of x[row, i] * dout[row, o]          x [..., I], dout [..., O] -> [I, O]
Tensor linear_grad_weight(const Tensor& dout, const Tensor& x);

// dbias[o] = sum over rows of dout[row, o], rows in chunks whose sums are added in order          [..., O] -> [O]
Tensor linear_grad_bias(const Tensor& dout);

}  // namespace subquad::kernels
