// Softmax along the last axis, and its logarithm.
//
//   softmax       y[r,c] = exp(x[r,c] - m[r]) / s[r]       dx[r,c] = y[r,c] (dout[r,c] - sum_k dout[r,k] y[r,k])
//   log_softmax   y[r,c] = x[r,c] - m[r] - log s[r]        dx[r,c] = dout[r,c] - exp(y[r,c]) sum_k dout[r,k]
//
//   with m[r] = max_k x[r,k] and s[r] = sum_k exp(x[r,k] - m[r])
//
//   x, y, dout, dx [..., C]; contiguous, one dtype (float32, float64), one device; any extent may be 0
//
// A logit of -inf has probability 0. A row of nothing but -inf gives softmax 0, log_softmax -inf, and gradients 0.
// The relative error of a probability grows with its distance from the maximum: about (8 + m - x) / 2^24 in float32.
// Deterministic: one writer per row. Reads x once from memory and writes y once: 8 bytes per float32 element.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor softmax(const Tensor& x);
Tensor softmax_grad(const Tensor& dout, const Tensor& y);

Tensor log_softmax(const Tensor& x);
Tensor log_softmax_grad(const Tensor& dout, const Tensor& y);

}  // namespace subquad::kernels
