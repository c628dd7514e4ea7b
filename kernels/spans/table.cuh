// Tables of spans inside kernels.
#pragma once

#include <algorithm>

#include "subquad/core/cuda/launch.cuh"
#include "subquad/kernels/spans/spans.h"
#include "subquad/kernels/warp/reduce.cuh"

namespace subquad::kernels::cuda {

struct SpanTable {
  const Index* bounds;  // [1 or B, S, 2]
  Index count;
  bool shared;  // by all samples

  explicit SpanTable(const Tensor& spans)
      : bounds(spans.data<Index>()), count(spans.dim(1)), shared(spans.dim(0) == 1) {}

  // As it stands in the table.
  __device__ Span at(Index b, Index s) const {
    const Index* const pair = bounds + 2 * ((shared ? 0 : b * count) + s);
    return {pair[0], pair[1]};
  }
  // The positions of 0 ... n - 1 that are in it, whatever stands in the table.
  __device__ static Span clipped(Span span, Index n) {
    const Index begin = span.begin < 0 ? 0 : span.begin < n ? span.begin : n;
    return {begin, span.end < begin ? begin : span.end < n ? span.end : n};
  }
  __device__ Span clipped_at(Index b, Index s, Index n) const { return clipped(at(b, s), n); }
};

// The block goes over the spans first ... last - 1 of sample b, a thread for each, and writes the numbers of those that
// begin a run side by side, from starts[found] on; null: nothing is written. How many there are then, before and here.
template <int kThreads>
__device__ Index find_span_runs(const SpanTable& spans, Index b, Index first, Index last, Index found, Index* starts,
                                SharedMemory& shared) {
  constexpr int kWarps = kThreads / kWarp;
  int* const before = shared.take<int>(kWarps + 1);  // runs that begin in earlier warps, and in all
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (Index from = first; from < last; from += kThreads) {
    const Index s = from + threadIdx.x;
    const bool begins = s < last && (s == 0 || spans.at(b, s).begin < spans.at(b, s - 1).end);
    const unsigned bits = __ballot_sync(kWholeWarp, begins);
    if (lane == 0) before[warp + 1] = __popc(bits);
    __syncthreads();
    if (threadIdx.x == 0) {
      before[0] = 0;
      for (int w = 0; w < kWarps; ++w) before[w + 1] += before[w];
    }
    __syncthreads();
    if (begins && starts != nullptr) starts[found + before[warp] + __popc(bits & ((1u << lane) - 1))] = s;
    found += before[kWarps];
    __syncthreads();  // `before` is no longer read
  }
  return found;
}

// The same for all spans of the sample: runs [S + 2] as span_runs of cuda.h makes them. A barrier is needed before they
// are read.
template <int kThreads>
__device__ void find_span_runs(const SpanTable& spans, Index b, Index* runs, SharedMemory& shared) {
  const Index found = find_span_runs<kThreads>(spans, b, 0, spans.count, 0, runs + 1, shared);
  if (threadIdx.x == 0) {
    runs[0] = found;
    runs[1 + found] = spans.count;
  }
}

// Spans that blocks share, each of which has a piece of 1024 positions; what they find is joined in order. They are the
// longer ones of a table that has as many rows as level_spans makes, so that the host knows where without a look at the
// numbers; whatever these are, every position of a span is in one piece.
struct SharedSpans {
  static constexpr int kPieceLevel = 10, kPiece = 1 << kPieceLevel;

  Index first, rows = 0;       // in the table
  int levels = 0, pieces = 0;  // of spans; pieces of a level
  int positions;

  SharedSpans(const Tensor& table, Index all) : first(table.dim(1)), positions(static_cast<int>(all)) {
    Index count = 0, shorter = 0;
    for (int level = 1; (Index{1} << level) < all; ++level) {
      if (level == kPieceLevel + 1) shorter = count;
      if (level > kPieceLevel) ++levels;
      count += (all + (Index{1} << level) - 1) >> level;
    }
    if (levels == 0 || count != table.dim(1)) {
      levels = 0;
      return;
    }
    first = shorter;
    rows = count - shorter;
    pieces = (positions + kPiece - 1) / kPiece;
  }

  __host__ __device__ int units() const { return levels * pieces; }

  // The pieces of a row are neighbours: `count` of them from number `first` on.
  struct Row {
    Index row;
    int first, count;
  };
  __device__ Row of_unit(int unit) const {
    const int level = kPieceLevel + 1 + unit / pieces, block = (unit % pieces << kPieceLevel) >> level;
    return of_block(level, start_of(level), block);
  }
  __device__ Row of_row(Index row) const {
    int level = kPieceLevel + 1;
    Index start = first;
    for (; row >= start + blocks(level); ++level) start += blocks(level);
    return of_block(level, start, static_cast<int>(row - start));
  }

  // The positions of a piece, of those in `span`, which is clipped.
  __device__ static Span piece_of(Span span, const Row& row, int unit) {
    const Index begin = span.begin + Index{unit - row.first} * kPiece;
    const Index end = unit + 1 == row.first + row.count ? span.end : begin + kPiece;
    return {begin < span.end ? begin : span.end, end < span.end ? end : span.end};
  }

 private:
  __device__ Index blocks(int level) const { return (positions + (Index{1} << level) - 1) >> level; }
  __device__ Index start_of(int level) const {
    Index start = first;
    for (int l = kPieceLevel + 1; l < level; ++l) start += blocks(l);
    return start;
  }
  __device__ Row of_block(int level, Index start, int block) const {
    const int per_block = 1 << (level - kPieceLevel), begin = block * per_block;
    const int rest = pieces - begin;
    return {start + block, (level - kPieceLevel - 1) * pieces + begin, rest < per_block ? rest : per_block};
  }
};

// The spans that hold a position, for who owns it.
struct SpanRuns {
  static constexpr int kFew = 256;

  SpanTable spans;
  const Index* runs;  // as span_runs of cuda.h makes it, or null where they are few

  static bool are_few(const Tensor& table) { return table.dim(0) == 1 && table.dim(1) <= kFew; }

  SpanRuns(const Tensor& table, const Tensor& table_runs)
      : spans(table), runs(table_runs.defined() ? table_runs.data<Index>() : nullptr) {}

  // All threads of a block call, before anything else here is called.
  template <int kThreads>
  __device__ void find(SharedMemory& shared) {
    if (runs != nullptr) return;
    Index* const found = shared.take<Index>(kFew + 2);
    find_span_runs<kThreads>(spans, 0, found, shared);
    runs = found;
    __syncthreads();
  }
  template <int kThreads>
  static constexpr std::size_t bytes() {
    return shared_size<Index>(kFew + 2) + shared_size<int>(kThreads / kWarp + 1);
  }

  __device__ Index count(Index b) const { return starts(b)[-1]; }

  // The span of run number r that holds position i of sample b; -1 where none does, and behind the last run. It is
  // first sought where it would stand if all spans were as long as the first one.
  __device__ Index in(Index b, Index r, Index i) const {
    if (r >= count(b)) return -1;
    const Index first = starts(b)[r], last = starts(b)[r + 1] - 1;
    const Span one = spans.at(b, first);
    if (i < one.begin) return -1;
    Index s = first + (i - one.begin) / (one.end > one.begin ? one.end - one.begin : 1);
    s = s < last ? s : last;
    if (!holds(b, s, i)) s = search(b, first, last, i);
    return holds(b, s, i) ? s : -1;
  }

 private:
  __device__ const Index* starts(Index b) const { return runs + (spans.shared ? 0 : b * (spans.count + 2)) + 1; }
  __device__ bool holds(Index b, Index s, Index i) const {
    const Span span = spans.at(b, s);
    return span.begin <= i && i < span.end;
  }
  // The last span of first ... last that begins at i or before.
  __device__ Index search(Index b, Index first, Index last, Index i) const {
    while (first < last) {
      const Index middle = (first + last + 1) / 2;
      if (spans.at(b, middle).begin <= i)
        first = middle;
      else
        last = middle - 1;
    }
    return first;
  }
};

}  // namespace subquad::kernels::cuda
