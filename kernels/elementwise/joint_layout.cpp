#include "subquad/kernels/elementwise/joint_layout.h"

namespace subquad::kernels {

JointLayout::JointLayout(const Shape& shape, std::initializer_list<Shape> given) : operands(given.size()) {
  const Shape* const operand = given.begin();
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == 1) continue;
    const int last = extents.rank() - 1;
    bool merges = last >= 0;
    for (std::size_t k = 0; k < operands && merges; ++k) merges = strides[k][last] == operand[k][d] * shape[d];
    if (!merges) {
      extents.push_back(shape[d]);
      for (std::size_t k = 0; k < operands; ++k) strides[k].push_back(operand[k][d]);
    } else {
      extents[last] *= shape[d];
      for (std::size_t k = 0; k < operands; ++k) strides[k][last] = operand[k][d];
    }
  }
  if (extents.rank() == 0) {  // a single element
    extents.push_back(1);
    for (std::size_t k = 0; k < operands; ++k) strides[k].push_back(1);
  }
}

bool JointLayout::is_flat() const {
  bool flat = extents.rank() == 1;
  for (std::size_t k = 0; k < operands && flat; ++k) flat = strides[k].back() == 1;
  return flat;
}

}  // namespace subquad::kernels
