// Reductions over any axes (kernels/reduce): empty axes mean all, negative ones count from the end.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable sum(const Variable& x, const std::vector<int>& axes = {}, bool keepdim = false);
Variable mean(const Variable& x, const std::vector<int>& axes = {}, bool keepdim = false);

// The gradient goes to the first element that has the maximum.
struct MaxResult {
  Variable values;
  Tensor indices;  // int64: row-major position inside the reduced axes
};
MaxResult max(const Variable& x, const std::vector<int>& axes = {}, bool keepdim = false);

}  // namespace subquad
