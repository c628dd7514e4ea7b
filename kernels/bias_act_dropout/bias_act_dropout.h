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
// uniform_float(word) >= p. The activation is made anew in the gradient, so that only x need be kept. So is the mask,
// unless forward was asked to keep it: on the CPU it then leaves a bit for each element, whose reading costs less than
// a tenth of drawing it again (on CUDA it leaves nothing). With p = 0 nothing is drawn, the random state may be
// undefined and x may have rank 1. Deterministic: one writer per row; dbias is summed over chunks of rows, and the
// chunks in order. Reads each input once and writes each output once: 8 bytes per float32 element forward (12 with a
// residual), 12 backward.
#pragma once

#include "subquad/core/rng.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

enum class Activation { none, relu, gelu };

// What forward leaves of its mask: uint8, an implementation's own shape; undefined where it leaves nothing.
struct KeptMask {
  Tensor bits = {};
};
Tensor bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                        const Tensor& residual = {}, KeptMask* mask = nullptr);

struct BiasActDropoutGrads {
  Tensor dx;
  Tensor dbias;  // undefined without a bias
};
BiasActDropoutGrads bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                          Activation activation, double p, const RandomState& rng,
                                          const KeptMask& mask = {});

// The same before the chunks are added: dbias is [chunks, D].
BiasActDropoutGrads bias_act_dropout_grad_parts(const Tensor& dout, const Tensor& x, const Tensor& bias,
                                                Activation activation, double p, const RandomState& rng,
                                                const KeptMask& mask = {});

}  // namespace subquad::kernels
