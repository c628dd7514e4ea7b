// Several tensors of one shape seen with as few dimensions as they allow: extents of 1 are left out and neighbouring
// dimensions that lie evenly in every operand are merged, so that equal contiguous tensors have one dimension, and
// [B, N, D] + [D] has two, B*N and D.
#pragma once

#include <array>
#include <initializer_list>

#include "subquad/core/shape.h"

namespace subquad::kernels {

struct JointLayout {
  static constexpr int kMaxOperands = 4;

  // given: one Shape of strides per operand, each of the rank of `shape`; 0 where an operand is broadcast.
  JointLayout(const Shape& shape, std::initializer_list<Shape> given);

  Index size() const { return extents.size(); }
  bool is_flat() const;  // every operand contiguous

  Shape extents;                            // merged; rank >= 1
  std::array<Shape, kMaxOperands> strides;  // in elements, of the rank of `extents`
  std::size_t operands;
};

}  // namespace subquad::kernels
