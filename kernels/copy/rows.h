// Copying rows by index, and its transpose: adding rows up by index. Shared with kernels/embedding.
//
//   select_rows   out[a, j, :] = x[a, index[j], :]                      x [A, R, K]   index [J]   out [A, J, K]
//   add_rows      out[a, r, :] = sum over j with index[j] == r of x[a, j, :]      x [A, J, K]   out [A, R, K]
//
// All tensors contiguous; out is written everywhere. Indices must be in range.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels::cpu {

void select_rows(const Tensor& x, const Tensor& index, Tensor& out);

// A row that more than a few hundred places point at (a frequent token) is summed in pieces cut by count, and the
// pieces added in order: several threads share the work, with the same bits for any number of them.
void add_rows(const Tensor& x, const Tensor& index, Tensor& out);

}  // namespace subquad::kernels::cpu
