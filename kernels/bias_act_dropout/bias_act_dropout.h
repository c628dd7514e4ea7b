// Bias, activation, dropout and a residual in one pass.
//
//   z[b,...,d] = x[b,...,d] + bias[d]      out = keep[b,...,d] / (1 - p) * act(z) + residual
//   dx = keep / (1 - p) * act'(z) * dout      dbias[d] = sum over everything else of dx[...,d]
//   dresidual = dout
//
//   gelu(z) = z/2 (1 + erf(z / sqrt 2))    gelu'(z) = (1 + erf(z / sqrt 2)) / 2 + z exp(-z^2/2) / sqrt(2 pi)
//   relu'(0) = 0
//
//   x, out, dout, dx [B, ..., D]   residual like x, bias and dbias [D], or undefined; contiguous, one dtype (float32,
//   float64), one device; any extent may be 0; 0 <= p < 1
//
// keep is kernels/dropout's: the word of core/rng.h at (sample, row-major index of the middle dimensions, d), kept when
// uniform_float(word) >= p. It is made anew in the gradient, as is the activation, so that only x need be kept. With
// p = 0 nothing is drawn, the random state may be undefined and x may have rank 1.
// Deterministic: one writer per row; dbias is summed over chunks of rows, and the chunks in order.
// Reads each input once and writes each output once: 8 bytes per float32 element forward (12 with a residual),
// 12 backward.
#pragma once

#include "subquad/core/rng.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class Activation { none, relu, gelu };

Tensor bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                        const Tensor& residual = {});

struct BiasActDropoutGrads {
  Tensor dx;
  Tensor dbias;  // undefined without a bias
};
BiasActDropoutGrads bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                          Activation activation, double p, const RandomState& rng);

// The same before the chunks are added: dbias is [chunks, D].
BiasActDropoutGrads bias_act_dropout_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                                Activation activation, double p, const RandomState& rng);

}  // namespace subquad::kernels
