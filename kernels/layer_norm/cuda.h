// CUDA kernels of layer_norm.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include "subquad/kernels/layer_norm/layer_norm.h"

namespace subquad::kernels::cuda {

// `residual` and `result.sum` are both undefined for a plain layer norm.
void add_layer_norm(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
                    AddLayerNorm& result);

// `dsum` may be undefined. Each chunk of rows leaves its share of dgamma and dbeta in partial(c, 0, :) and
// partial(c, 1, :); the caller makes partial [layer_norm_chunks(rows), 2, D] and adds the chunks.
Index layer_norm_chunks(Index rows);
void layer_norm_grad(const Tensor& dout, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& dsum, Tensor& dx, Tensor& partial);

}  // namespace subquad::kernels::cuda
