// Walks several tensors of one shape together. Extents of 1 are left out and neighbouring dimensions that lie evenly in
// every operand are merged, so that equal contiguous tensors become one flat loop, and [B, N, D] + [D] a loop of B*N
// rows.
#pragma once

#include <array>

#include "subquad/core/parallel.h"
#include "subquad/core/shape.h"

namespace subquad::kernels::cpu {

class LoopNest {
 public:
  static constexpr int kMaxOperands = 4;
  using Offsets = std::array<Index, kMaxOperands>;  // one per operand, in elements from its first one

  // strides: one Shape per operand, each of the rank of `shape`; 0 where an operand is broadcast.
  LoopNest(const Shape& shape, std::initializer_list<Shape> strides);

  // How far apart the elements of one run lie in an operand.
  Index inner_stride(int operand) const { return strides_[static_cast<std::size_t>(operand)].back(); }

  // Calls body(offsets, count) for runs of elements along the innermost dimension until every element was met once, on
  // several threads when that pays; `work` is the rough count of operations per element.
  template <class Body>
  void for_each_run(Index work, Body&& body) const {
    parallel_chunks(extents_.size(), kChunk, work, [&](Index begin, Index end) {
      Place place = place_of(begin);
      while (begin < end) {
        const Index count = std::min(end - begin, extents_.back() - place.index.back());
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

  Shape extents_;  // merged; rank >= 1
  std::array<Shape, kMaxOperands> strides_;
  std::size_t operands_;
};

}  // namespace subquad::kernels::cpu
