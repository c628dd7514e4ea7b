// Dropout (kernels/dropout): zeroes each element with the given probability and scales the others by 1 / (1 - p).
#pragma once

#include "subquad/autograd/variable.h"
#include "subquad/core/rng.h"

namespace subquad {

// x [B, ..., D], contiguous. With probability 0 the result is x itself, and `random` may be undefined.
Variable dropout(const Variable& x, double probability, const RandomState& random);

}  // namespace subquad
