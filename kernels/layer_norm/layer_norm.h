// Layer normalisation over the last axis, alone or fused with the residual addition before it.
//
//   mean[r] = 1/D sum_d x[r,d]      rstd[r] = 1 / sqrt(1/D sum_d (x[r,d] - mean[r])^2 + eps)
//   out[r,d] = xhat[r,d] gamma[d] + beta[d]      xhat[r,d] = (x[r,d] - mean[r]) rstd[r]
//
//   dx[r,d] = rstd[r] (dxhat[r,d] - 1/D sum_k dxhat[r,k] - xhat[r,d]/D sum_k dxhat[r,k] xhat[r,k])
//   dxhat[r,d] = dout[r,d] gamma[d]      dgamma[d] = sum_r dout[r,d] xhat[r,d]      dbeta[d] = sum_r dout[r,d]
//
//   x, residual, out, dout, dx [..., D]   gamma, beta, dgamma, dbeta [D]   mean, rstd [...]
//   contiguous, one dtype (float32, float64), one device; any extent may be 0; eps > 0
//
// The variance is taken in two steps (mean first), so a large offset costs no more digits than the mean's rounding does:
// a constant row c gives beta as long as that, some |c| 2^-24 in float32, is small beside sqrt(eps). Squares are taken
// as they are: this holds while D (x - mean)^2 stays within the dtype, which is for |x| up to 1e17 in float32 and 1e150
// in float64 and any D up to 1e4. Beyond it a row may come out as beta, or as NaN.
//
// Deterministic: one writer per row; dgamma and dbeta are summed over chunks of rows, and the chunks in order.
// Reads each input once from memory and writes each output once, a block of rows at a time; add_layer_norm moves 16
// bytes per float32 element instead of 20.
// Source: Ba, Kiros, Hinton, "Layer normalization", 2016, equation 4.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct LayerNorm {
  Tensor out, mean, rstd;
};
LayerNorm layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps);

struct AddLayerNorm {
  Tensor sum;  // x + residual
  Tensor out, mean, rstd;
};
AddLayerNorm add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                            double eps);

// Gradients of either: `x` is what was normalised (the sum, for add_layer_norm). `dsum`, if defined, is another
// upstream of that same x and is added to dx: with add_layer_norm, dx is the gradient of x and of residual alike.
struct LayerNormGrads {
  Tensor dx, dgamma, dbeta;
};
LayerNormGrads layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                               const Tensor& rstd, const Tensor& dsum = {});

// The same before the chunks are added: dgamma and dbeta are [chunks, D], views of one tensor.
LayerNormGrads layer_norm_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                     const Tensor& rstd, const Tensor& dsum = {});

}  // namespace subquad::kernels
