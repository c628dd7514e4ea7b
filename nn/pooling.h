// Pooling: one vector per sample out of a sequence. Padded positions count as 0, whatever stands there.
#pragma once

#include <string_view>

#include "subquad/autograd/variable.h"
#include "subquad/core/mask.h"

namespace subquad::nn {

enum class Pooling { mean, cls, flatten };
Pooling parse_pooling(std::string_view name);  // Error lists the legal names
std::string_view pooling_name(Pooling pooling);

// x [B, N, D] -> [B, D]: the mean over the real positions; 0 for a sample that has none. A positive `divisor` divides
// the sum by that number instead: published LRA code divides by the padded length, which makes short texts small.
Variable pool_mean(const Variable& x, const Mask& mask, Index divisor = 0);

// x [B, N, D] -> [B, D]: position 0.
Variable pool_cls(const Variable& x);

// x [B, N, D] -> [B, max_length * D], 0 beyond N. ShapeError when N > max_length.
Variable pool_flatten(const Variable& x, const Mask& mask, Index max_length);

}  // namespace subquad::nn
