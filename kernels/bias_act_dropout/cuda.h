// CUDA kernels of bias_act_dropout.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

namespace subquad::kernels::cuda {

void bias_act_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, const RandomState& rng,
                      const Tensor& residual, Tensor& out);

// With a bias, each chunk of rows leaves its share of dbias in partial(c, :); the caller makes partial
// [bias_act_dropout_chunks(rows, D), D] and adds the chunks.
Index bias_act_dropout_chunks(Index rows, Index width);
void bias_act_dropout_grad(const Tensor& dout, const Tensor& x, const Tensor& bias, Activation activation, double p,
                           const RandomState& rng, Tensor& dx, Tensor& partial);

}  // namespace subquad::kernels::cuda
