#include "subquad/kernels/elementwise/loop_nest.h"

namespace subquad::kernels::cpu {

LoopNest::LoopNest(const Shape& shape, std::initializer_list<Shape> strides) : operands_(strides.size()) {
  const Shape* given = strides.begin();
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == 1) continue;
    const int last = extents_.rank() - 1;
    bool merges = last >= 0;
    for (std::size_t k = 0; k < operands_ && merges; ++k) merges = strides_[k][last] == given[k][d] * shape[d];
    if (!merges) {
      extents_.push_back(shape[d]);
      for (std::size_t k = 0; k < operands_; ++k) strides_[k].push_back(given[k][d]);
    } else {
      extents_[last] *= shape[d];
      for (std::size_t k = 0; k < operands_; ++k) strides_[k][last] = given[k][d];
    }
  }
  if (extents_.rank() == 0) {  // a single element
    extents_.push_back(1);
    for (std::size_t k = 0; k < operands_; ++k) strides_[k].push_back(1);
  }
}

LoopNest::Place LoopNest::place_of(Index position) const {
  Place place{extents_, {}};
  for (int d = extents_.rank() - 1; d >= 0; --d) {
    place.index[d] = position % extents_[d];
    position /= extents_[d];
    for (std::size_t k = 0; k < operands_; ++k) place.offsets[k] += place.index[d] * strides_[k][d];
  }
  return place;
}

void LoopNest::next_run(Place& place) const {
  int d = extents_.rank() - 1;
  for (std::size_t k = 0; k < operands_; ++k) place.offsets[k] -= place.index[d] * strides_[k][d];
  place.index[d] = 0;
  for (--d; d >= 0; --d) {
    for (std::size_t k = 0; k < operands_; ++k) place.offsets[k] += strides_[k][d];
    if (++place.index[d] < extents_[d]) return;
    for (std::size_t k = 0; k < operands_; ++k) place.offsets[k] -= place.index[d] * strides_[k][d];
    place.index[d] = 0;
  }
}

}  // namespace subquad::kernels::cpu
