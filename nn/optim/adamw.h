// AdamW (Loshchilov and Hutter 2019, algorithm 2) and Adam (Kingma and Ba 2015, algorithm 1): decoupled = true decays
// the weights themselves, false adds weight_decay * weight to the gradient. Equation: kernels/adamw/adamw.h.
#pragma once

#include "subquad/kernels/adamw/adamw.h"
#include "subquad/nn/optim/optimizer.h"

namespace subquad::nn {

class AdamW : public Optimizer {
 public:
  AdamW(ParameterArena& parameters, const kernels::AdamWOptions& options);

  // Of the steps to come, in [0, 1): one-cycle schedules move it. Written like the rate, between replays of a graph.
  void set_beta1(double beta1);

 private:
  void update(const Tensor& step, const Tensor& rate, const Tensor& grad_scale) override;

  kernels::AdamWOptions options_;
  Tensor beta1_;  // float64 [1]
  Tensor m_;      // saved as "m.<parameter>"
  Tensor v_;      // saved as "v.<parameter>"
};

}  // namespace subquad::nn
