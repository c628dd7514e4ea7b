// Rows of a table, picked by number (kernels/embedding).
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable embedding(const Variable& table, const Tensor& ids);  // [V, D], int64 [...] -> [..., D]

}  // namespace subquad
