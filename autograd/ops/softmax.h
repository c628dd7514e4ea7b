// Softmax and its logarithm along any dimension (kernels/softmax). A negative dim counts from the
// end. x may have any strides; it is copied unless dim is the last dimension and x is contiguous.
#pragma once

#include "subquad/autograd/variable.h"

namespace subquad {

Variable softmax(const Variable& x, int dim = -1);
Variable log_softmax(const Variable& x, int dim = -1);

}  // namespace subquad
