// For kernels that work row by row.
#pragma once

#include <vector>

#include "subquad/core/tensor.h"
#include "subquad/tests/support/device.h"

namespace subquad::test {

// [rows, width] that bring out every way in which a CUDA kernel shares out rows (kernels/warp/row.cuh): moved in packs
// and element by element, in the registers of a warp (few and many) and by a whole block; several blocks, the last one
// not full, and widths that leave lanes over.
inline const std::vector<Shape> kRowShapes = {{21, 60}, {18, 516}, {9, 1028}, {21, 67}, {9, 1031}};

// `shapes` and these; `large`, too, where kernels are not interpreted.
inline std::vector<Shape> with_row_shapes(std::vector<Shape> shapes, const Shape& large) {
  shapes.insert(shapes.end(), kRowShapes.begin(), kRowShapes.end());
  if (!interpreted()) shapes.push_back(large);
  return shapes;
}

// A contiguous copy of t that starts one element behind an aligned address, where nothing can be moved 16 bytes at a
// time.
inline Tensor unaligned(const Tensor& t) {
  Tensor copied = empty({t.size() + 1}, t.dtype(), t.device()).slice(0, 1, t.size() + 1).reshape(t.shape());
  copy(t, copied);
  return copied;
}

}  // namespace subquad::test
