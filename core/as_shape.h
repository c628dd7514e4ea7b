// Reshaping of tensors whose strides may or may not allow it.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad {

// t.reshape(shape) where that is a view, else that of a contiguous copy. No extent may be -1.
Tensor as_shape(const Tensor& t, const Shape& shape);

}  // namespace subquad
