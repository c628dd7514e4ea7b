// The CPU kernels behind compact.h. x and out are contiguous [B, A, N, C], arguments are checked.
#pragma once

#include "subquad/core/mask.h"

namespace subquad::kernels::cpu {

void compact(const Tensor& x, const Mask& mask, Tensor& out);
void spread(const Tensor& x, const Mask& mask, Tensor& out);
void prefix_positions(const Tensor& lengths, Tensor& real);  // real[b, i] = i < lengths[b]

}  // namespace subquad::kernels::cpu
