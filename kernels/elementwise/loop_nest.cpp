#include "subquad/kernels/elementwise/loop_nest.h"

namespace subquad::kernels::cpu {

LoopNest::Place LoopNest::place_of(Index position) const {
  Place place{layout_.extents, {}};
  for (int d = layout_.extents.rank() - 1; d >= 0; --d) {
    place.index[d] = position % layout_.extents[d];
    position /= layout_.extents[d];
    for (std::size_t k = 0; k < layout_.operands; ++k) place.offsets[k] += place.index[d] * layout_.strides[k][d];
  }
  return place;
}

void LoopNest::next_run(Place& place) const {
  int d = layout_.extents.rank() - 1;
  for (std::size_t k = 0; k < layout_.operands; ++k) place.offsets[k] -= place.index[d] * layout_.strides[k][d];
  place.index[d] = 0;
  for (--d; d >= 0; --d) {
    for (std::size_t k = 0; k < layout_.operands; ++k) place.offsets[k] += layout_.strides[k][d];
    if (++place.index[d] < layout_.extents[d]) return;
    for (std::size_t k = 0; k < layout_.operands; ++k) place.offsets[k] -= place.index[d] * layout_.strides[k][d];
    place.index[d] = 0;
  }
}

}  // namespace subquad::kernels::cpu
