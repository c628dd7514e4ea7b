// Rows of a table, picked by number.
//
//   out[..., :] = table[ids[...], :]                    table [V, D]   ids int64 [...]   out [..., D]
//   dtable[v, :] = sum over places with id v of dout    in the order of the places, one writer per row
//
// table: float32 or float64, ids: any shape; all contiguous. An id outside [0, V) is an Error that names its place,
// value and V; on CUDA the next wait for the device throws it, and until then its row is 0. Deterministic; the
// backward's sort and sums do not depend on the number of threads.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor embedding(const Tensor& table, const Tensor& ids);
Tensor embedding_grad(const Tensor& dout, const Tensor& ids, Index rows);  // rows: V; -> [V, D]

}  // namespace subquad::kernels
