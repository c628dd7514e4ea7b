// One step of stochastic gradient descent, with momentum, over flat arenas of parameters.
//
//   g        = grad_scale * grad + weight_decay * param
//   velocity = momentum * velocity + g
//   param    = param - rate * (nesterov ? g + momentum * velocity : velocity)
//
// param, grad, velocity: one shape, dtype (float32, float64) and device, contiguous; param and velocity are changed in
// place. Without momentum the velocity is g itself and may be undefined. One pass: 20 bytes per float32 parameter, 12
// without momentum. Deterministic: every element on its own.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct SgdOptions {
  double momentum = 0;
  double weight_decay = 0;
  bool nesterov = false;  // needs momentum
};

// rate: float64 [1]. grad_scale: float64 [1], or undefined for 1 (clip_scale); where it is a NaN nothing changes, as in
// adamw. velocity is zeros before the first step.
void sgd(Tensor& param, const Tensor& grad, Tensor& velocity, const Tensor& rate, const Tensor& grad_scale,
         const SgdOptions& options);

}  // namespace subquad::kernels
