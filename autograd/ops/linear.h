// x weight + bias over the last dimension. Contract: kernels/linear/linear.h.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

// [..., I] x [I, O] + [O] -> [..., O]; an undefined bias is left out.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

// Several maps of one x, alike in shape: kernels/linear/linear_group.h. One result per weight; all biases or none.
std::vector<Variable> linear_group(const Variable& x, const std::vector<Variable>& weights,
                                   const std::vector<Variable>& biases);

}  // namespace subquad
