// The CPU bodies of kernels/copy that are not about whole rows (those: rows.h). Everything contiguous, indices in
// range.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void gather(const Tensor& x, int dim, const Tensor& index, Tensor& out);
void gather_grad(const Tensor& dout, int dim, const Tensor& index, Tensor& dx);

}  // namespace subquad::kernels::cpu
