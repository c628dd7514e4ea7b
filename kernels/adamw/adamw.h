// One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2) or of Adam
// with an L2 penalty (Kingma and Ba, "Adam", 2015, algorithm 1), over flat arenas of parameters.
//
//   g     = grad_scale * grad  (+ weight_decay * param, when not decoupled)
//   m     = beta1 * m + (1 - beta1) * g
//   v     = beta2 * v + (1 - beta2) * g^2
//   param = param * (1 - rate * weight_decay)          (decoupled only)
//   param = param - rate * (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon)
//
// param, grad, m, v: one shape, dtype (float32, float64) and device, contiguous; param, m and v are changed in place.
// The gaps of an arena, zero in all four, stay zero. Step and rate are tensors so that a captured step can be replayed.
// One pass: 28 bytes per float32 parameter (four reads, three writes). Deterministic: every element on its own.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = true;  // true: AdamW; false: Adam, where the decay is part of the gradient
};

// step: int64 [1], 1 at the first call; below 1 an Error, on CUDA thrown by whoever next waits for the device. rate:
// float64 [1]. grad_scale: float64 [1], or undefined for 1 (clip_scale); where it is a NaN nothing changes, which is
// how a step whose loss or gradient is not finite is passed over on the device. beta1: float64 [1] in [0, 1), for
// schedules that move it from step to step, or undefined for the option's.
void adamw(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, const Tensor& step, const Tensor& rate,
           const Tensor& grad_scale, const AdamWOptions& options, const Tensor& beta1 = {});

}  // namespace subquad::kernels
