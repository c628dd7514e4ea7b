// Walks several tensors of one shape together, in the dimensions that their joint layout leaves.
#pragma once

#include <array>

#include "subquad/core/parallel.h"
#include "subquad/kernels/elementwise/joint_layout.h"

namespace subquad::kernels::cpu {

class LoopNest {
 public:
  using Offsets = std::array<Index, JointLayout::kMaxOperands>;  // one per operand, in elements from its first one

  // strides: one Shape per operand, each of the rank of `shape`; 0 where an operand is broadcast.
  LoopNest(const Shape& shape, std::initializer_list<Shape> strides) : layout_(shape, strides) {}

  // How far apart the elements of one run lie in an operand.
  Index inner_stride(int operand) const { return layout_.strides[static_cast<std::size_t>(operand)].back(); }

  // Calls body(offsets, count) for runs of elements along the innermost dimension until every element was met once, on
  // several threads when that pays; `work` is the rough count of operations per element.
  template <class Body>
  void for_each_run(Index work, Body&& body) const {
    parallel_chunks(layout_.size(), kChunk, work, [&](Index begin, Index end) {
      Place place = place_of(begin);
      while (begin < end) {
        const Index count = std::min(end - begin, layout_.extents.back() - place.index.back());
        body(place.offsets, count);
        begin += count;
        if (begin < end) next_run(place);
      }
    });
  }

 private:
  static constexpr Index kChunk = 8192;  // elements: 32 KiB of float32, enough to hide the cost of starting a chunk

  struct Place {
    Shape index;  // one index per merged dimension
    Offsets offsets = {};
  };
  Place place_of(Index position) const;
  void next_run(Place& place) const;  // from anywhere in a run to the start of the next one

  JointLayout layout_;
};

}  // namespace subquad::kernels::cpu
