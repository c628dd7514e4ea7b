// CUDA kernels of top_k.h. Arguments are checked and outputs allocated by the caller.
#pragma once

#include <span>

#include "subquad/kernels/top_k/top_k.h"

namespace subquad::kernels::cuda {

void top_k(const Tensor& x, TopK& out);
void top_k_grad(const Tensor& dvalues, const Tensor& indices, Tensor& dx);
// One or two, of keys of one shape and dtype.
void choose_top_k(std::span<const TopKChoice> choices, const Mask& mask, std::span<Tensor> chosen);

}  // namespace subquad::kernels::cuda
