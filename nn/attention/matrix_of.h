// The matrix behind a map that is linear in its values, found by feeding it identity columns: how a picture of a
// mechanism is made by the mechanism itself, never by a second formula.
#pragma once

#include <functional>

#include "subquad/autograd/variable.h"

namespace subquad::nn {

// [B, H, N] of what is mapped, and how many columns of the identity go at once.
struct MatrixInputs {
  Index batch = 0, heads = 0, positions = 0, columns = 1;
  DType dtype = kFloat32;
  Device device = kCpu;
};

// A [B, H, R, N] with map(V) = A V for V [B, H, N, C]. Outside of any graph. Costs N / C maps, and the result.
Tensor matrix_of(const MatrixInputs& in, const std::function<Variable(const Variable& values)>& map);

}  // namespace subquad::nn
