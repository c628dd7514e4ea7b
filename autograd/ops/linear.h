// x weight + bias over the last dimension. Contract: kernels/linear/linear.h.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

// [..., I] x [I, O] + [O] -> [..., O]; an undefined bias is left out.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

}  // namespace subquad
