// Many small sums at once: gradients on their way into the parameters', whatever the number of parameters.
//
//   to[i] += sum_p parts[p, i]        p = 0 ... P - 1, for each entry of a list
//
//   to contiguous, of any shape   parts [P, ...to's shape], any distance between the parts, each of them contiguous,
//   or a matrix whose rows are and lie apart
//   float32 or float64, one dtype and device within an entry; P >= 0; no `to` overlaps another entry's tensors
//
// The sum over p is made first and then added. Deterministic: on the CPU it is kernels/reduce's sum, on CUDA the order
// follows from P alone. Reads everything once; on CUDA one launch per 64 entries of a dtype.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

struct Addition {
  Tensor to;
  Tensor parts;
};
void accumulate(std::vector<Addition>& additions);

}  // namespace subquad::kernels
