#include "subquad/core/arena.h"

#include "subquad/core/allocator.h"

namespace subquad {

Arena::Arena(const std::vector<Shape>& shapes, DType dtype, Device device) : shapes_(shapes) {
  const Index grain = static_cast<Index>(kAlignment / dtype_bytes(dtype));
  std::vector<Index> starts;
  Index total = 0;
  for (const Shape& shape : shapes) {
    starts.push_back(total);
    total += (shape.size() + grain - 1) / grain * grain;
  }
  flat_ = zeros({total}, dtype, device);
  for (std::size_t i = 0; i < shapes.size(); ++i)
    parts_.push_back(flat_.slice(0, starts[i], starts[i] + shapes[i].size()).reshape(shapes[i]));
}

Arena Arena::zeros_like() const {
  return Arena(shapes_, flat_.dtype(), flat_.device());
}

}  // namespace subquad
