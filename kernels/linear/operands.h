// What the products of linear maps read.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

// The tensors themselves; on CUDA with Precision::bf16 the copies of float32 ones in bfloat16, all made in one launch.
// linear, linear_grad_weight and those of linear_group take such operands, all or none of them, in place of the tensors
// and give the same bits: products that share an operand share its rounding, and backward keeps half the bytes. Copies
// of tensors alike lie at equal distances. What repeats itself along a leading dimension (stride 0)
// does so in the copy.
std::vector<Tensor> product_operands(const std::vector<Tensor>& tensors);

// The same for tensors alike that are columns of one, as the gradients of linear_group's results may be: they stay so.
std::vector<Tensor> group_operands(const std::vector<Tensor>& tensors);

}  // namespace subquad::kernels
