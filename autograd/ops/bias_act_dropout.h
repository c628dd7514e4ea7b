// Bias, activation, dropout and a residual in one pass (kernels/bias_act_dropout): what stands between the two layers
// of a feed-forward block and behind them. Keeps only x for backward.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/rng.h"
#include "subquad/kernels/bias_act_dropout/bias_act_dropout.h"

namespace subquad {

using kernels::Activation;

// x [B, ..., D]; bias [D] or undefined; rng may be undefined when p is 0; residual like x or undefined.
Variable bias_act_dropout(const Variable& x, const Variable& bias, Activation activation, double p = 0,
                          const RandomState& rng = {}, const Variable& residual = {});

}  // namespace subquad
