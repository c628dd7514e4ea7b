// Where sequences are cut into S consecutive segments: a table of starts that block reductions read.
//
//   starts [B, S + 1], int64, contiguous: segment j of sample b holds the positions starts[b, j] ... starts[b, j+1] - 1
//   0 = starts[b, 0] <= starts[b, 1] <= ... <= starts[b, S] = N
//
// Segments may be empty, and may hold padded positions, which reductions skip by their mask. No segment depends on
// another sample of the batch. On CUDA each table is made by one kernel from indices (and the mask that lies there):
// nothing is copied from the host, and nothing read by it.
//
// Source: the even rule is that of the official Nystromformer code for images, token_nystromformer.py.
#pragma once

#include <algorithm>

#include "subquad/core/mask.h"
#include "subquad/core/tensor.h"

namespace subquad::kernels {

// The even rule on n things: with s = n / S (rounded down) and r = n - s S, the first S - r segments hold s of them and
// the last r hold s + 1; n < S: the first n segments hold one each, the others none.
constexpr Index even_start(Index count, Index segments, Index segment) {  // its first thing, 0 <= segment <= S
  const Index shorter = count / segments, longer_count = count % segments;
  if (shorter == 0) return std::min(segment, count);
  return segment * shorter + std::max<Index>(0, segment - (segments - longer_count));
}
constexpr Index even_segment_of(Index count, Index segments, Index thing) {  // that holds it, 0 <= thing < n
  const Index shorter = count / segments, in_shorter = (segments - count % segments) * shorter;
  if (thing < in_shorter) return thing / shorter;
  return (shorter == 0 ? 0 : segments - count % segments) + (thing - in_shorter) / (shorter + 1);
}

// Over all N positions, alike for every sample.
Tensor even_segments(Index batch, Index positions, Index segments, Device device);

// Over the real tokens of each sample, however they are scattered: a segment reaches from its first real token to that
// of the next. So which tokens stand together depends neither on how much padding there is nor on where.
struct RealSegments {
  Tensor starts;
  Mask filled;     // [B, S]: the segments that hold a token, which are the first ones
  Tensor covered;  // bool [B]: the tokens are no more than the segments, and each has one to itself
};
RealSegments even_segments_of_real(const Mask& mask, Index segments);
RealSegments empty_real_segments(const Mask& mask, Index segments);  // memory for one

// ceil(N / S) positions each, counted from the end: the first segments are shorter, or empty.
constexpr Index start_from_end(Index count, Index segments, Index segment) {
  const Index length = (count + segments - 1) / segments;
  return std::max<Index>(0, count - (segments - segment) * length);
}
Tensor segments_from_end(Index batch, Index positions, Index segments, Device device);

// As a mask [B, S]: the segments that hold a real token. An undefined mask means: every position is real. On CUDA the
// result does not claim to be a prefix mask, though it may be one.
Mask filled_segments(const Tensor& starts, const Mask& mask, Index positions);

// ShapeError, DTypeError or Error when `starts` is not such a table for [batch, positions]; on the CPU its values are
// looked at, too.
void check_segments(const char* op, const Tensor& starts, Index batch, Index positions);

}  // namespace subquad::kernels
