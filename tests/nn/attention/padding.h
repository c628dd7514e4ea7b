// What stands at padded positions of x [B, N, D].
#pragma once

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::test {

Tensor with_padding(const Tensor& x, const Mask& mask, double value);  // x, and `value` wherever it is padded
Tensor real_part(const Tensor& x, const Mask& mask);                   // x, and 0 there

}  // namespace subquad::test
