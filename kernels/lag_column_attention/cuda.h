// The CUDA kernels behind lag_column_attention.h. Arguments are checked, every last stride is 1, options.scale is set;
// what lags and columns hold is not checked.
#pragma once

#include "subquad/kernels/lag_column_attention/lag_column_attention.h"

namespace subquad::kernels::cuda {

void lag_column_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LagColumns& chosen,
                          const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                          AttentionOutput& result);

void lag_column_attention_grad(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                               const Tensor& v, const LagColumns& chosen, const AttentionOutput& forward,
                               const LagColumnScores& scores, const Mask& mask, const LagColumnOptions& options,
                               LagColumnGrads& grads);

}  // namespace subquad::kernels::cuda
