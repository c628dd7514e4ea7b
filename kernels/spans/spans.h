// Spans: sets of consecutive positions that block reductions summarise. Unlike segments (kernels/segments) they may
// overlap and need not cover everything.
//
//   spans [1 or B, S, 2], int64, contiguous: span s of sample b holds the positions begin <= i < end; 1: all samples
//   0 <= begin <= end
//
// `end` may lie behind the last position: what is not there is not in the span. So a span bears the same two numbers
// however much padding there is. Padded positions are skipped by the mask of the reduction.
//
// A table stands where the tensors are that it speaks of; on CUDA a kernel writes it, so that a step that makes one can
// be captured, and nobody looks at the numbers of a table that was handed in: begin is brought into 0 ... N, a span
// that ends before it begins is empty.
#pragma once

#include <utility>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::kernels {

// ceil(N / size) segments of `size` positions each.
Tensor segment_spans(Index positions, Index size, Device device);

// The aligned blocks of 2^l positions, level after level: l = 1, 2, ... as long as 2^l < N. About N spans in all.
Tensor level_spans(Index positions, Device device);

// The segments of a table of starts [B, S + 1] as spans [B, S, 2].
Tensor spans_of_segments(const Tensor& starts);

// ShapeError, DTypeError or Error when `spans` is not such a table for a batch; its numbers are looked at on the CPU.
void check_spans(const char* op, const Tensor& spans, Index batch);

// For owners of positions: span numbers first ... last - 1 such that no two of them overlap, one run after the other.
// For tables on the CPU; kernels/spans/table.cuh is the same for kernels.
std::vector<std::pair<Index, Index>> disjoint_runs(const Tensor& spans, Index b);

// The two numbers of a span, the second one clipped to N.
struct Span {
  Index begin, end;
};
Span span_at(const Tensor& spans, Index b, Index s, Index positions);

// How many positions the spans of all samples hold together, for counts of work. Of tables on the CPU: of another,
// whose numbers nobody looks at, 0, which is no count.
double spanned_positions(const Tensor& spans, Index batch, Index positions);

}  // namespace subquad::kernels
