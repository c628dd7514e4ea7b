// Running maxima along the lines of a grid; all rules are in kernels/running_max/running_max.h.
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/running_max/running_max.h"

namespace subquad {

using kernels::GridAxis;
using kernels::RunningMaxOptions;

Variable running_max(const Variable& x, const RunningMaxOptions& options,
                     const Mask& mask = {});  // [B, N, C] -> [B, cells, C]

}  // namespace subquad
