// The Euclidean norm of a whole gradient arena, and the factor that clips it (Pascanu et al., "On the difficulty of
// training recurrent neural networks", 2013, algorithm 1).
//
//   norm  = sqrt(sum_i grad[i]^2)                      float64 [1]
//   scale = min(1, max_norm / (norm + 1e-6))           float64 [1]
//
// grad: any shape, contiguous, float32 or float64. Squares are added in double, in chunks whose sums are added in
// order, so neither thread count nor SIMD target changes a bit. Both stay tensors: clipping is the grad_scale argument
// of adamw and sgd, and costs one read of the gradients. A norm that is not finite comes out as it is, and the scale
// of an infinite one is 0, of a NaN one NaN: look at the norm to see that training broke.
#pragma once

#include "subquad/core/tensor.h"

namespace subquad::kernels {

Tensor grad_norm(const Tensor& grad);

Tensor clip_scale(const Tensor& norm, double max_norm);  // max_norm > 0

}  // namespace subquad::kernels
