// The iterative Moore-Penrose inverse of small matrices (kernels/pinv).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/kernels/pinv/pinv.h"

namespace subquad {

using kernels::PinvOptions;
using kernels::PinvStart;

Variable pinv(const Variable& a, const PinvOptions& options = {});  // [..., M, M] -> [..., M, M]

}  // namespace subquad
