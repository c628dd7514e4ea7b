// Rows of a table, picked by number (kernels/embedding).
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

// [V, D], int64 [...] -> [..., D]. The row `frozen`, if there is one, gets no gradient.
Variable embedding(const Variable& table, const Tensor& ids, Index frozen = -1);

}  // namespace subquad
