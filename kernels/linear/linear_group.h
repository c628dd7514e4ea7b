// Several affine maps of one input, alike in shape: what makes queries, keys and values of the same features.
//
//   out[s, ..., o] = sum_i x[..., i] * weight_s[i, o] + bias_s[o]        s = 0 ... S - 1
//
//   x [..., I], rank >= 1   weights S x [I, O]   biases S x [O], or S undefined ones   out [S, ..., O]
//   one dtype (float32, float64), one device; S >= 1; else as kernels/linear
//
// On CUDA one product and one kernel where the weights lie at equal distances, as in a ParameterArena; else as many as
// there are maps. Work: S linears.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor linear_group(const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases);

// dx = sum_s dout_s weight_s^T, from the last map to the first          douts S x [..., O] -> [..., I]
Tensor linear_group_grad_input(const std::vector<Tensor>& douts, const std::vector<Tensor>& weights);

// dweight_s[i, o] = sum over rows of x[row, i] * dout_s[row, o], S times [I, O]. Where the douts lie side by side, row
// by row, as the gradients of queries, keys and values do on a GPU, they are columns of one product, x is read once,
// and so are the results.
std::vector<Tensor> linear_group_grad_weights(const std::vector<Tensor>& douts, const Tensor& x);

// dbias_s = sum over p of [s, p]: columns of dout_s over chunks of rows, not yet added up           -> [S, P, O]
Tensor linear_group_grad_bias_parts(const std::vector<Tensor>& douts);

}  // namespace subquad::kernels
