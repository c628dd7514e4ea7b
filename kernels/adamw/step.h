// The constants of one step of AdamW, in the parameters' type, for the loops of both devices.
#pragma once

#include "subquad/kernels/adamw/adamw.h"

namespace subquad::kernels {

template <class T>
struct AdamWStep {
  T grad_scale;
  T coupled_decay;  // added to the gradient, times the parameter
  T keep;           // 1 - rate * weight_decay, or 1
  T beta1, rest1;   // rest = 1 - beta
  T beta2, rest2;
  T rate;        // rate / (1 - beta1^step)
  T root_scale;  // 1 / sqrt(1 - beta2^step)
  T epsilon;
};

// seen1 = 1 - beta1^step; root_seen2 = sqrt(1 - beta2^step): powers and roots are the caller's.
template <class T>
constexpr AdamWStep<T> adamw_step(double seen1, double root_seen2, double rate, double grad_scale,
                                  const AdamWOptions& o) {
  const auto t = [](double value) { return static_cast<T>(value); };
  return {.grad_scale = t(grad_scale),
          .coupled_decay = t(o.decoupled ? 0 : o.weight_decay),
          .keep = t(o.decoupled ? 1 - rate * o.weight_decay : 1),
          .beta1 = t(o.beta1),
          .rest1 = t(1 - o.beta1),
          .beta2 = t(o.beta2),
          .rest2 = t(1 - o.beta2),
          .rate = t(rate / seen1),
          .root_scale = t(1 / root_seen2),
          .epsilon = t(o.epsilon)};
}

}  // namespace subquad::kernels
